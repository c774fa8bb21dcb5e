"""The trainer of shelf detectors: ultralytics' detection trainer with what it lacks for us.

Importing this module imports torch and ultralytics, and hence calls `load_ultralytics`: a class must know its
base, and ultralytics reads its environment when it is imported. `python -m stocktake.shelf.trainer FILE` is
one rank of `launch_ranks`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocktake.devices import prepare_torch
from stocktake.errors import ModelError
from stocktake.files import atomic_path
from stocktake.launch import EpochHook, be_rank
from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.run_files import and_then, leave_answers, rank_monitor
from stocktake.shelf import watching
from stocktake.shelf.train_settings import NMS_IOU
from stocktake.shelf.ultralytics_setup import load_ultralytics

load_ultralytics()

import torch  # noqa: E402
from torch import distributed  # noqa: E402
from ultralytics.engine import trainer as engine  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator  # noqa: E402
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, RANK, WORLD_SIZE  # noqa: E402
from ultralytics.utils.torch_utils import strip_optimizer  # noqa: E402

DEFAULT_SCORE = 0.25  # where no threshold can be found, as in ultralytics
MAX_BAD_STEPS = 3  # in a row; fp16 may overflow once and recover
_METRIC_NAMES = {
    "metrics/precision(B)": "val/precision",
    "metrics/recall(B)": "val/recall",
    "metrics/mAP50(B)": "val/ap50",
    "metrics/mAP50-95(B)": "val/ap",
    "lr/pg0": "lr",
}


class ShelfTrainer(DetectionTrainer):
    """Trains on CPU in the layout that convolutions like, over CPU ranks too; stops when the loss is lost.

    Checkpoints are replaced whole, so that a run which is killed at any moment can be resumed.
    """

    model: Any  # ultralytics has no type hints
    world_size: int
    last: Path
    best: Path

    def __init__(
        self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None
    ) -> None:
        engine.check_amp = amp_works  # ultralytics' own would download a model
        super().__init__(cfg, overrides, _callbacks)
        on_cpu = self.device.type == "cpu"
        self.cpu_ranks = WORLD_SIZE if on_cpu and LOCAL_RANK != -1 else 0
        if on_cpu and not self.cpu_ranks:
            prepare_torch()  # ultralytics, whenever it chooses the CPU, leaves one idle
        self.bad_steps = 0
        self.monitor: TrainingMonitor | None = None
        self.steps_done = self.steps_marked = 0  # of the optimizer

    def set_model_attributes(self) -> None:
        """Put the model into channels_last on CPU as well, which is a fifth to a third faster."""
        super().set_model_attributes()
        if self.device.type == "cpu":
            self.model = self.model.to(memory_format=torch.channels_last)

    def _do_train(self) -> None:
        if self.cpu_ranks:
            distributed.init_process_group("gloo", rank=RANK, world_size=self.cpu_ranks)
        try:
            super()._do_train()
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()

    def _build_train_pipeline(self) -> None:
        # ultralytics names a CUDA device when it wraps a model for several ranks; on CPU there is none to
        # name, so the model is wrapped here: it is whole, and the optimizer has not seen it yet
        if self.cpu_ranks and self.world_size != self.cpu_ranks:
            self.world_size = self.cpu_ranks
            self.model = torch.nn.parallel.DistributedDataParallel(self.model, find_unused_parameters=True)
        super()._build_train_pipeline()

    def optimizer_step(self) -> None:
        """Take a step; raise ModelError after `MAX_BAD_STEPS` in a row whose loss is not a number."""
        self.bad_steps = 0 if math.isfinite(self.loss.item()) else self.bad_steps + 1
        if self.bad_steps >= MAX_BAD_STEPS:
            raise ModelError(
                f"the loss is no longer a number in epoch {self.epoch + 1} of {self.epochs}; train again with"
                f" a lower lr0 (it is {self.args.lr0:g}) or without mixed precision (amp is {self.amp})"
            )
        if self.monitor:
            self.monitor.step(self.steps_done, self.loss, self.scaler.get_scale)
        super().optimizer_step()
        self.steps_done += 1
        if self.monitor:
            self.monitor.mark("optimizer")

    def save_model(self) -> bool:
        """Write last.pt, and best.pt if it is the best, each whole or not at all."""
        final = self.last, self.best
        parts = [path.with_suffix(".part") for path in final]
        self.last, self.best = parts
        try:
            super().save_model()
        finally:
            self.last, self.best = final
        # last.pt last: it says the epoch is done
        for part, path in reversed(list(zip(parts, final, strict=True))):
            if part.exists():
                part.replace(path)
        return True

    def final_eval(self) -> None:
        """Measure nothing here: the best checkpoint is measured afterwards, once and by one process."""


def amp_works(model: torch.nn.Module) -> bool:
    """Whether mixed precision gives finite answers on the model's device; False on CPU, where it is no gain.

    Takes the place of ultralytics' check, which downloads a model. The GPUs that it is about (GTX 16xx and
    their kin) answer NaN, whatever the model.
    """
    device = next(model.parameters()).device
    return device.type != "cpu" and answers_finite(model, device.type)


def answers_finite(model: torch.nn.Module, device_type: str) -> bool:
    """Whether the model's answer to a random photo, in mixed precision, is free of NaN and infinity."""
    was_training = model.training
    photo = torch.rand(1, 3, 256, 256, device=next(model.parameters()).device)
    with torch.no_grad(), torch.autocast(device_type):
        decoded = model.eval()(photo)[0]
    model.train(was_training)
    return bool(torch.isfinite(decoded).all())


def train_rank(
    overrides: dict[str, Any], on_epoch: EpochHook | None = None, monitor: TrainingMonitor | None = None
) -> Path:
    """Train as this rank of the run, or alone; return the run's folder, with weights/{best,last}.pt in it.

    Args:
        overrides: ultralytics' arguments; and rules, the settings of the monitor that rank 0 makes for
            itself where none can be handed over.
        on_epoch: called on rank 0 after each epoch with its metrics and its number, from 1.
        monitor: watches the training; its report goes to rules/ in the run's folder.
    """
    ours = dict(overrides)
    monitor = rank_monitor(ours.pop("rules", None), RANK in {-1, 0}, monitor)
    trainer = ShelfTrainer(overrides=ours)

    def end_epoch(state: ShelfTrainer) -> None:
        metrics = epoch_metrics(state)
        if on_epoch is not None:
            on_epoch(metrics, state.epoch + 1)
        if monitor:
            watching.end_epoch(state, metrics)

    if RANK in {-1, 0}:
        trainer.add_callback("on_fit_epoch_end", end_epoch)
    if not monitor:
        trainer.train()
        return Path(trainer.save_dir)
    watching.watch(trainer, monitor)
    with and_then(lambda: leave_answers(monitor, Path(trainer.save_dir))):
        trainer.train()
    return Path(trainer.save_dir)


def epoch_metrics(trainer: ShelfTrainer) -> dict[str, float]:
    """The figures of the epoch that has just ended, by our names: train/…_loss, val/…_loss, val/ap50, lr …"""
    found = {**trainer.label_loss_items(trainer.tloss), **(trainer.metrics or {}), **trainer.lr}
    return {
        _METRIC_NAMES.get(name, name): float(value)
        for name, value in found.items()
        if not name.startswith("lr/") or name in _METRIC_NAMES
    }


@dataclass(frozen=True, slots=True)
class Measured:
    """A detector on the val photos: COCO-style figures and the score threshold with the best F1 at IoU .5."""

    metrics: dict[str, float]  # val/precision and val/recall at that threshold, val/ap50, val/ap, val/f1
    score_threshold: float


def measure(weights: Path, data_yaml: Path, img: int, batch: int, device: str, out_dir: Path) -> Measured:
    """Run a checkpoint over the val photos of a tree, fitted into squares of `img` px as they are served."""
    arguments = {
        "model": str(weights),
        "data": str(data_yaml),
        "imgsz": img,
        "batch": batch,
        "device": device,
        "iou": NMS_IOU,
        "plots": False,
        "verbose": False,
    }
    validator = DetectionValidator(args=arguments, save_dir=out_dir)
    if not torch.cuda.is_available() or device == "cpu":
        prepare_torch()
    found = validator(model=str(weights))
    metrics = {ours: float(found[theirs]) for theirs, ours in _METRIC_NAMES.items() if theirs in found}
    box = validator.metrics.box
    if not len(box.f1_curve) or not box.f1_curve.any():  # nothing found, or nothing to find
        return Measured({**metrics, "val/f1": 0.0}, DEFAULT_SCORE)
    curve = box.f1_curve.mean(axis=0)
    best = int(curve.argmax())
    return Measured({**metrics, "val/f1": float(curve[best])}, round(float(box.px[best]), 4))


def strip(checkpoint: Path) -> None:
    """Take the optimizer out of a checkpoint that nobody will resume; a second time does nothing more."""
    with atomic_path(checkpoint) as part:
        strip_optimizer(checkpoint, s=str(part))


if __name__ == "__main__":
    be_rank(train_rank)

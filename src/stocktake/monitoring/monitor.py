"""The one callback through which rules watch a training; it runs in the process that trains (rank 0)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake.monitoring.monitor_settings import MonitorSettings
from stocktake.monitoring.presets import PRESETS
from stocktake.monitoring.recording import Epoch, Recording
from stocktake.monitoring.results import RuleResult, State, StopTraining

if TYPE_CHECKING:
    import torch

    from stocktake.monitoring.observer import Observer

__all__ = ["MonitorSettings", "RuleResult", "State", "StopTraining", "TrainingMonitor"]

GradScale = float | Callable[[], float]


class TrainingMonitor:
    """Records a training and asks the rules about it.

    monitor.start(model, optimizer, loader_workers=2)
    for batch in loader:
        monitor.mark("data wait")  # the time since the last mark went there
        loss = model.loss(...); loss.backward()  # the end of the forward pass is seen by itself
        monitor.step(step, loss)
        optimizer.step(); optimizer.zero_grad(); monitor.mark("optimizer")
    ...
        monitor.epoch(epoch, metrics)
    results = monitor.finish()
    monitor.write_report(run_dir / "rules")
    """

    def __init__(self, settings: MonitorSettings | None = None) -> None:
        self.settings = settings or MonitorSettings()
        self.recording = Recording(cores=len(os.sched_getaffinity(0)))
        self._observer: Observer | None = None
        self._file: Path | None = None
        self._made = time.monotonic()
        self._results: list[RuleResult] | None = None

    def restart_clock(self) -> None:
        """Count the time until the first step from now on, not from when this monitor was made."""
        self._made = time.monotonic()

    def keep_in(self, path: Path, epochs_done: int) -> None:
        """Write the recording to `path` after every epoch, and go on with what an earlier process left there.

        Args:
            path: a JSON file in the run's folder; need not exist.
            epochs_done: epochs that the run has behind it; what was recorded after them is dropped. 0 starts
                anew.

        Raises:
            DataError: the file is there and is something else.
        """
        self._file = path
        if epochs_done and path.exists():
            self.recording = Recording.read(path)
            self.recording.keep_epochs(epochs_done)

    def start(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        loader_workers: int | None = None,
        gpus: Sequence[int] = (),
    ) -> None:
        """Begin to watch a model whose weights are the ones to start from.

        Args:
            model: as it is called in training; wrapped by DDP or not.
            optimizer: of the training, for the report.
            loader_workers: loading processes of this rank; None = unknown.
            gpus: CUDA numbers of the GPUs of all ranks on this machine; where none are given, the model's
                own, or with several ranks the first ones.
        """
        from stocktake.monitoring.observer import Observer

        self.recording.loader_workers = loader_workers
        self.recording.optimizer = type(optimizer).__name__ if optimizer is not None else ""
        self._observer = Observer(self.recording, self.settings, model, gpus)

    def step(self, step: int, loss: float | torch.Tensor, grad_scale: GradScale = 1.0) -> None:
        """Look at one step: after backward, before gradients are clipped and the optimizer moves.

        Args:
            step: of the whole training, from 0.
            loss: mean of the batch. A tensor is read later, so that it costs no wait for the device.
            grad_scale: that of a GradScaler whose gradients were not unscaled yet; its `get_scale`, without a
                call, is asked at looks only, since asking waits for the device.
        """
        if self.recording.start_seconds is None:
            self.recording.start_seconds = time.monotonic() - self._made
        self._watching().step(step, loss, grad_scale)

    def mark(self, phase: str) -> None:
        """Say that the time since the last mark went to `phase`: data wait, forward, backward, optimizer."""
        self._watching().stopwatch.mark(phase)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Say that the time within the block goes to `name`; the same as `mark` at its end."""
        self.mark("other")
        yield
        self.mark(name)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Look at an epoch that has ended.

        Args:
            epoch: its number, from 1.
            metrics: train/loss and val/loss, or parts such as val/box_loss that are summed. Where there is
                a train/eval_loss, the loss of train photos in eval mode without augmentation, `Overfit`
                compares that one with val/loss, since dropout and augmentation raise train/loss.

        Raises:
            StopTraining: a rule of `stop_on` has found issues.
        """
        self._watching().end_epoch(
            Epoch(
                epoch,
                train=loss_of(metrics, "train"),
                val=loss_of(metrics, "val"),
                train_eval=metrics.get("train/eval_loss"),
            )
        )
        if self._file:
            self.recording.write(self._file)
        for result in self.check(self.settings.stop_on):
            if result.fired:
                raise StopTraining(result.rule, result.reason)

    def check(self, rules: tuple[str, ...] | None = None) -> list[RuleResult]:
        """The answers so far of the named rules, of all when None."""
        if self._observer is not None:
            self._observer.read()
        seen = self.recording.snapshot()
        chosen = PRESETS[self.settings.preset]
        return [rule.check(seen) for rule in chosen if rules is None or rule.name in rules]

    def finish(self) -> list[RuleResult]:
        """Stop watching and return the answers, in the order of `RULES`; a second call changes nothing."""
        if self._results is None:
            if self._observer is not None:
                self._observer.close()
            self._results = self.check()
        return self._results

    def write_report(self, out_dir: Path) -> Path:
        """Write report.html, rules.json and profiler-reports/<Rule>.json; return the path of the first.

        A trace.json.gz for Perfetto is added where this process has traced steps.
        """
        from stocktake.monitoring.report_files import write_report

        results = self.finish()
        if self._observer is not None:
            self._observer.write_trace(out_dir / "trace.json.gz")
        return write_report(self.recording, results, self.settings.preset, out_dir)

    def _watching(self) -> Any:
        if self._observer is None:
            raise RuntimeError("TrainingMonitor.start has not been called")
        return self._observer


def loss_of(metrics: Mapping[str, float], split: str) -> float | None:
    """The loss of 'train' or 'val': as it is, or the sum of its parts; None where there is neither."""
    if f"{split}/loss" in metrics:
        return float(metrics[f"{split}/loss"])
    parts = [
        value
        for name, value in metrics.items()
        if name.startswith(f"{split}/") and name.endswith("_loss") and name != f"{split}/eval_loss"
    ]
    return float(sum(parts)) if parts else None

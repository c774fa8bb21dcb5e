"""The training loop of bin counters. Importing this module imports torch."""

import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from stocktake.bins import checkpoints
from stocktake.bins.checkpoints import Metrics, Progress
from stocktake.bins.loading import Batch, PhotoSet, Waits, epoch_rows, make_batch, read_ahead
from stocktake.bins.measuring import Passes, measure
from stocktake.bins.network import BinNetwork
from stocktake.bins.optimization import WeightAverage, lr_factor, make_optimizer, set_lr
from stocktake.bins.ranks import (
    expect_same,
    my_part,
    ranks_here,
    share_buffers,
    sum_over_ranks,
    tell_all,
)
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.errors import ModelError
from stocktake.launch import EpochHook
from stocktake.monitoring.monitor import StopTraining, TrainingMonitor
from stocktake.monitoring.run_files import RECORDING_FILE

log = logging.getLogger(__name__)

NAMED_PHOTOS = 5  # in the message about a lost loss


class BinTrainer:
    """One rank of a training, or all of it.

    Attributes:
        network: what learns; `average.network` is what is measured and kept.
        model: the same, wrapped where there are several ranks.
        progress: how far it is.
    """

    def __init__(
        self,
        network: BinNetwork,
        train: PhotoSet,
        val: PhotoSet,
        settings: BinTrainSettings,
        passes: Passes,
        monitor: TrainingMonitor | None = None,
    ) -> None:
        self.train, self.val, self.settings, self.passes = train, val, settings, passes
        self.monitor = monitor
        self.rank, self.ranks = my_part()
        self.network = network.to(passes.device).to(memory_format=torch.channels_last)
        self.average = WeightAverage(self.network, settings.ema)
        if settings.freeze:
            self.network.freeze_body()
        self.model: nn.Module = self.network
        if self.ranks > 1:
            self.model = nn.parallel.DistributedDataParallel(self.network)
        self.optimizer = make_optimizer(self.network, settings)
        self.scaler = torch.amp.GradScaler(passes.device.type, enabled=settings.amp == "fp16")
        self.steps = math.ceil(len(train) / settings.batch_size)  # of an epoch
        cores = len(os.sched_getaffinity(0))
        self.threads = 1 if passes.device.type == "cpu" else max(cores // ranks_here(), 1)  # that read photos
        self.progress = Progress()

    def fit(self, run_dir: Path, on_epoch: EpochHook | None = None, is_watched: bool = False) -> None:
        """Train to the end, or until patience or a rule says so, with a checkpoint after every epoch.

        Args:
            run_dir: gets weights/last.pt and weights/best.pt; training continues from the former where it
                is there.
            on_epoch: called on the first rank after every epoch, before its checkpoint is written.
            is_watched: whether the first rank has a monitor.

        Raises:
            ModelError: the loss on train or val photos is no longer a number.
        """
        folder = run_dir / "weights"
        if (folder / "last.pt").is_file():
            self.progress = checkpoints.resume(
                folder / "last.pt", self.network, self.optimizer, self.scaler, self.average
            )
        expect_same("the epoch of the checkpoint", self.progress.epoch)
        if self.monitor:
            self.monitor.keep_in(run_dir / RECORDING_FILE, self.progress.epoch)
            gpus = [int(device) for device in self.settings.devices if device.isdigit()]
            self.monitor.start(self.model, self.optimizer, self.threads, gpus)
        for epoch in range(self.progress.epoch + 1, self.settings.epochs + 1):
            if self.progress.stopped:
                break
            metrics = {**self.learn(epoch), **self.evaluate(is_watched)}
            self._check_finite(metrics["val/loss"], epoch)
            if self.rank == 0:
                log.info("epoch %d of %d: %s", epoch, self.settings.epochs, describe(metrics))
                if on_epoch:
                    on_epoch(metrics, epoch)
            self.close_epoch(epoch, metrics, folder)
            self._mark("other")  # what has no part in a step

    def learn(self, epoch: int) -> Metrics:
        """Go through the train photos once; return train/loss, lr, images_per_second and loader_wait.

        `loader_wait` is the share of the time, 0..1, in which this rank waited for photos.
        """
        settings = self.settings
        self.model.train()
        rows = [
            np.array_split(batch, self.ranks)[self.rank]
            for batch in epoch_rows(len(self.train), settings.batch_size, settings.seed, epoch)
        ]

        def make(number: int) -> Batch:
            return make_batch(self.train, number, rows[number], settings.seed, epoch, settings.augment)

        begun = time.perf_counter()
        batches = Waits(read_ahead(make, len(rows), self.threads))
        loss = 0.0
        with self._bar(epoch) as bar:
            for batch in batches:
                loss += self.step(batch, epoch) * len(batch.rows)
                bar.update()
        seconds = time.perf_counter() - begun
        total = sum_over_ranks(torch.tensor(loss, dtype=torch.float64), self.passes.device)
        return {
            "train/loss": float(total) / len(self.train),
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "images_per_second": len(self.train) / seconds,
            "loader_wait": batches.seconds / seconds,
        }

    def step(self, batch: Batch, epoch: int) -> float:
        """Learn from one batch; return its loss.

        Raises:
            ModelError: the loss is not a number; names the batch.
        """
        done = (epoch - 1) * self.steps + batch.number
        warmup = round(self.settings.warmup * self.steps)
        factor = lr_factor(done, self.settings.epochs * self.steps, warmup)
        set_lr(self.optimizer, self.settings.peak_lr * factor)
        images, targets = self.passes.load(batch)
        self._mark("data wait")
        loss = self.network.loss(self.passes.logits(self.model, images), targets)
        self._mark("forward")
        self.scaler.scale(loss).backward()
        self._mark("backward")
        if self.monitor:
            self.monitor.step(done, loss.detach(), self.scaler.get_scale)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.average.update()
        self._mark("optimizer")
        value = loss.item()
        if not math.isfinite(value):
            raise ModelError(self._lost(value, batch, epoch))
        return value

    def evaluate(self, is_watched: bool = False) -> Metrics:
        """Figures of the averaged weights on the val photos, val/…; and train/eval_loss for the rules."""
        network = self.average.network
        share_buffers(network)
        network.eval()

        def look(photos: PhotoSet) -> Metrics:
            size = self.settings.test_batch_size
            return measure(network, photos, len(self.val), size, self.passes, self.threads)

        found = {f"val/{name}": value for name, value in look(self.val).items()}
        if is_watched:
            found["train/eval_loss"] = look(self.train)["loss"]
        return found

    def close_epoch(self, epoch: int, metrics: Metrics, folder: Path) -> None:
        """Decide whether to go on, and write the checkpoints."""
        is_best = self.progress.take(epoch, metrics)
        stopped = ""
        if epoch - self.progress.best_epoch >= self.settings.patience:
            stopped = f"no improvement since epoch {self.progress.best_epoch}"
        if self.monitor:
            try:
                self.monitor.epoch(epoch, metrics)
            except StopTraining as stop:
                stopped = str(stop)
        self.progress.stopped = tell_all(stopped)
        if self.rank > 0:
            return
        network, img = self.average.network, self.settings.img
        if is_best:
            checkpoints.save(folder / "best.pt", network, img, epoch, metrics)
        state = checkpoints.training_state(
            self.network, self.optimizer, self.scaler, self.average, self.progress, self.settings.epochs
        )
        # last.pt last: it says that the epoch is done
        checkpoints.save(folder / "last.pt", network, img, epoch, metrics, training=state)
        if self.progress.stopped:
            log.info("stopped after epoch %d: %s", epoch, self.progress.stopped)

    def _mark(self, phase: str) -> None:
        if self.monitor:
            self.monitor.mark(phase)

    def _bar(self, epoch: int) -> "tqdm[Any]":
        text = f"epoch {epoch} of {self.settings.epochs}"
        return tqdm(desc=text, total=self.steps, unit="step", leave=False, disable=self.rank > 0 or None)

    def _check_finite(self, val_loss: float, epoch: int) -> None:
        # the last step of an epoch may lose the weights after its loss was taken; all ranks see this one
        if not math.isfinite(val_loss):
            raise ModelError(
                f"val/loss is {val_loss} after epoch {epoch} of {self.settings.epochs}; {self._advice()}"
            )

    def _advice(self) -> str:
        advice = f"train again with a lower lr (it is {self.settings.peak_lr:g})"
        return advice + (" or without amp" if self.settings.amp else "")

    def _lost(self, value: float, batch: Batch, epoch: int) -> str:
        names = [self.train.names[row] for row in batch.rows[:NAMED_PHOTOS]]
        more = len(batch.rows) - len(names)
        photos = ", ".join(names) + (f" and {more} more" if more > 0 else "")
        return (
            f"the loss is {value} in epoch {epoch} of {self.settings.epochs}, batch {batch.number + 1} of"
            f" {self.steps} (photos {photos}); {self._advice()}"
        )


def describe(metrics: Metrics) -> str:
    """The figures of an epoch in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

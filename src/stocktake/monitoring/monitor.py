"""The one callback through which rules watch a training; it runs in the process that trains (rank 0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stocktake.monitoring.monitor_settings import MonitorSettings
from stocktake.monitoring.results import RuleResult, State, StopTraining, summary

if TYPE_CHECKING:
    import torch

__all__ = ["MonitorSettings", "RuleResult", "State", "StopTraining", "TrainingMonitor", "summary"]


class TrainingMonitor:
    """Records a training and asks the rules about it.

    monitor.start(model, optimizer, loader_workers=2)
    for batch in loader:
        monitor.mark("data wait")  # the time since the last mark went there
        loss = model.loss(...); monitor.mark("forward")
        loss.backward(); monitor.mark("backward")
        monitor.step(step, loss)
        optimizer.step(); optimizer.zero_grad(); monitor.mark("optimizer")
    ...
        monitor.epoch(epoch, metrics)
    results = monitor.finish()
    monitor.write_report(run_dir / "rules")
    """

    def __init__(self, settings: MonitorSettings | None = None) -> None:
        self.settings = settings or MonitorSettings()

    def start(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        loader_workers: int | None = None,
    ) -> None:
        """Begin to watch a model whose weights are the ones to start from.

        Args:
            model: as it is called in training; wrapped by DDP or not.
            optimizer: of the training, for the report.
            loader_workers: loading processes of this rank; None = unknown.
        """

    def step(self, step: int, loss: float | torch.Tensor, grad_scale: float = 1.0) -> None:
        """Look at one step: after backward, before gradients are clipped and the optimizer moves.

        Args:
            step: of the whole training, from 0.
            loss: mean of the batch. A tensor is read later, so that it costs no wait for the device.
            grad_scale: that of a GradScaler whose gradients were not unscaled yet.
        """

    def mark(self, phase: str) -> None:
        """Say that the time since the last mark went to `phase`: data wait, forward, backward, optimizer."""

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
            metrics: train/loss and val/loss, or parts such as val/box_loss that are summed. Where there is a
                train/eval_loss, the loss of train photos in eval mode without augmentation, `Overfit` compares
                that one with val/loss, since dropout and augmentation raise train/loss.

        Raises:
            StopTraining: a rule of `stop_on` has found issues.
        """

    def finish(self) -> list[RuleResult]:
        """Stop watching and return the answers, in the order of `RULES`; a second call changes nothing."""
        return []

    def write_report(self, out_dir: Path) -> Path:
        """Write report.html, rules.json and profiler-reports/<Rule>.json; return the path of the first."""
        return out_dir / "report.html"

"""What a training keeps after every epoch, whole or not at all: best.pt to use, last.pt to continue from."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from stocktake.bins.network import BinNetwork, read_checkpoint
from stocktake.bins.optimization import WeightAverage
from stocktake.files import atomic_path

Metrics = dict[str, float]


@dataclass
class Progress:
    """How far a training is."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best: Metrics = field(default_factory=dict)  # the figures of that epoch
    stopped: str = ""  # why no epoch follows although some are left

    def take(self, epoch: int, metrics: Metrics) -> bool:
        """Note an epoch; return whether it is the best so far: by accuracy on val, then by its loss."""
        self.epoch = epoch
        is_best = _rank(metrics) > _rank(self.best)
        if is_best:
            self.best_epoch, self.best = epoch, metrics
        return is_best


def save(path: Path, network: BinNetwork, img: int, epoch: int, metrics: Metrics, **more: Any) -> None:
    """Write a checkpoint; see `network.read_checkpoint` for what is in it."""
    content = {
        "state": network.state_dict(),
        "classes": list(network.classes),
        "head": network.head_name,
        "img": img,
        "epoch": epoch,
        "metrics": metrics,
        **more,
    }
    with atomic_path(path) as part:
        torch.save(content, part)


def training_state(
    network: BinNetwork,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: WeightAverage,
    progress: Progress,
    epochs: int,
) -> dict[str, Any]:
    """What last.pt has beyond best.pt. Order and augmentation follow from seed and epoch."""
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "average_steps": average.steps,
        "progress": asdict(progress),
        "epochs": epochs,
    }


def resume(
    path: Path,
    network: BinNetwork,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: WeightAverage,
) -> Progress:
    """Put everything back to where it was when last.pt was written.

    Raises:
        ModelError: the checkpoint can't be read.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint["training"]
    network.load_state_dict(state["network"])
    if average.network is not network:
        average.network.load_state_dict(checkpoint["state"])
    average.steps = state["average_steps"]
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    return Progress(**state["progress"])


def read_progress(path: Path) -> tuple[int, int]:
    """Epochs in a last.pt, and epochs wanted; equal for one that was stopped on purpose."""
    training = read_checkpoint(path, mmap=True)["training"]
    done = int(training["progress"]["epoch"])
    return done, done if training["progress"]["stopped"] else int(training["epochs"])


def strip(path: Path) -> None:
    """Take out of a last.pt what only continuing needs, three quarters of it; a second time does nothing."""
    content = read_checkpoint(path, mmap=True)
    kept = {name: content["training"][name] for name in ("progress", "epochs")}
    if kept != content["training"]:
        with atomic_path(path) as part:
            torch.save({**content, "training": kept}, part)


def _rank(metrics: Metrics) -> tuple[float, float]:
    loss = metrics.get("val/loss", math.inf)
    if not math.isfinite(loss):
        return -math.inf, -math.inf  # what it counts by chance is no merit
    return metrics.get("val/accuracy", -math.inf), -loss

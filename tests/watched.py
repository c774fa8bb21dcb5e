"""Recordings by hand and small real trainings, for the tests of the training rules."""

import json
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor
from stocktake.monitoring.recording import Epoch, FirstSteps, Gradients, Recording, Samples, Steps

SAMPLES = Path(__file__).parent / "unit/monitoring/machine_samples.json"


def with_gradients(rows: Sequence[Sequence[float]], weights: Sequence[bool] | None = None) -> Recording:
    """A recording of mean |gradient|, a row per look at every tenth step; tensors are t0, t1, …"""
    columns = len(rows[0]) if rows else len(weights or [])
    names = [f"t{number}" for number in range(columns)]
    steps = array("q", range(0, 10 * len(rows), 10))
    is_weight = list(weights or [True] * columns)
    return Recording(gradients=Gradients(names, is_weight, steps, [list(row) for row in rows]))


def with_first_steps(
    variance: Sequence[Sequence[float]] = (),
    spread: Sequence[Sequence[float]] = (),
    losses: Sequence[float] = (),
    identical: Sequence[str] = (),
    weights: Sequence[bool] | None = None,
) -> Recording:
    """A recording of the first steps; layers are l0, l1, … and tensors t0, t1, …"""
    seen = with_losses(losses)
    columns = len(spread[0]) if spread else 1
    seen.gradients.names = [f"t{number}" for number in range(columns)]
    seen.gradients.is_weight = list(weights or [True] * columns)
    layers = [f"l{number}" for number in range(len(variance[0]) if variance else 0)]
    seen.first_steps = FirstSteps(
        layers, [list(row) for row in variance], [list(row) for row in spread], list(identical)
    )
    return seen


def with_losses(losses: Sequence[float], seconds: Sequence[float] | None = None) -> Recording:
    """A recording of steps 0, 1, … with these losses and, if given, times."""
    steps = array("q", range(len(losses)))
    return Recording(steps=Steps(steps, array("d", losses), array("d", seconds or [0.1] * len(losses))))


def with_epochs(
    train: Sequence[float | None] = (),
    val: Sequence[float | None] = (),
    train_eval: Sequence[float | None] = (),
) -> Recording:
    """A recording of epochs 1, 2, … with these mean losses."""
    count = max(len(train), len(val))
    series = [list(values) + [None] * (count - len(values)) for values in (train, val, train_eval)]
    return Recording(epochs=[Epoch(1 + n, *values) for n, values in enumerate(zip(*series, strict=True))])


def with_samples(
    gpu: Sequence[Sequence[float]],
    memory: Sequence[Sequence[float]] | None = None,
    cpu: Sequence[float] | None = None,
    io_wait: Sequence[float] | None = None,
) -> Recording:
    """A recording of samples, two in a second; a row of `gpu` and `memory` per sample, a column per GPU."""
    rows = [list(row) for row in gpu]
    quiet = [0.0] * len(rows)
    return Recording(
        samples=Samples(
            hz=2.0,
            gpus=[f"card {number}" for number in range(len(rows[0]) if rows else 0)],
            gpu=rows,
            gpu_memory=[list(row) for row in memory] if memory else [[0.0] * len(row) for row in rows],
            cpu=array("d", cpu or quiet),
            io_wait=array("d", io_wait or quiet),
            memory=array("d", quiet),
        )
    )


def drawn_samples(name: str) -> Recording:
    """One of the recordings of machine_samples.json."""
    segments = json.loads(SAMPLES.read_text())["recordings"][name]
    rows = [segment[1:] for segment in segments for _ in range(segment[0])]
    gpu, memory, cpu, io_wait = zip(*rows, strict=True)
    return with_samples(gpu, memory, cpu, io_wait)


def watch_training(
    network: nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    val: tuple[torch.Tensor, torch.Tensor] | None = None,
    lr: float = 1e-3,
    epochs: int = 4,
    batch: int = 32,
    settings: MonitorSettings | None = None,
    load: Callable[[], object] | None = None,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> TrainingMonitor:
    """Train a classifier for real under a monitor, and return the monitor.

    Args:
        data: inputs (n, …) float32 and classes (n,) int64.
        val: the same, to measure on.
        load: called for each batch, as a loader would be.
    """
    monitor = TrainingMonitor(settings or MonitorSettings(every=2, sample_hz=0, trace_steps=0))
    optimizer = make_optimizer(network.parameters(), lr=lr)
    monitor.start(network, optimizer, loader_workers=0)
    step = 0
    for epoch in range(1, epochs + 1):
        network.train()
        for part in torch.randperm(len(data[0])).split(batch):
            if load:
                load()
            inputs, classes = data[0][part], data[1][part]
            monitor.mark("data wait")
            loss = nn.functional.cross_entropy(network(inputs), classes)
            optimizer.zero_grad()
            loss.backward()
            monitor.step(step, loss)
            optimizer.step()
            monitor.mark("optimizer")
            step += 1
        metrics = {
            "train/loss": measure(network.train(), data),
            "train/eval_loss": measure(network.eval(), data),
        }
        if val:
            metrics["val/loss"] = measure(network.eval(), val)
        monitor.epoch(epoch, metrics)
    return monitor


def measure(network: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Mean loss on all of the data, in the mode that the network is in."""
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(data[0]), data[1]))


def two_moons(count: int, seed: int = 0, noise: float = 0.15) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (count, 2) float32 on two arcs, and the arc (count,) int64 of each."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.randint(2, (count,), generator=random)
    angle = torch.rand(count, generator=random) * torch.pi
    x = torch.where(classes == 0, torch.cos(angle), 1 - torch.cos(angle))
    y = torch.where(classes == 0, torch.sin(angle), 0.5 - torch.sin(angle))
    points = torch.stack([x, y], dim=1) + noise * torch.randn(count, 2, generator=random)
    return points, classes


def chain(widths: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths with an activation between each two."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])

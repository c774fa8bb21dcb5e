"""Small real trainings under the training rules, for their tests."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor


class Clock:
    """Stands in for time.perf_counter; each reading is what the test has set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now += seconds


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

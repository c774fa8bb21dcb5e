"""Recordings by hand, for the tests of the training rules; imports no torch, so that those are quick."""

import json
from array import array
from collections.abc import Sequence
from pathlib import Path

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

"""The plots of the rules' report, as matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stocktake.monitoring.recording import ABSENT, Epoch, Recording, Samples, table
from stocktake.report import PALETTE, new_figure, title_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = "#98a2b3"
POINTS = 2000  # of a line that are drawn
SMOOTH = 25  # steps of the moving mean


def loss_figure(seen: Recording) -> Figure:
    """Loss over steps, and train and val loss over epochs."""
    figure, (steps, epochs) = new_figure(9.6, 3.4, columns=2)
    loss = np.asarray(seen.steps.loss, float)
    number = np.asarray(seen.steps.step)[: len(loss)]
    thin = slice(None, None, max(1, len(loss) // POINTS))
    steps.plot(number[thin], loss[thin], color=GREY, lw=0.8, label="loss of a step")
    if len(loss) > SMOOTH:
        mean = np.convolve(loss, np.full(SMOOTH, 1 / SMOOTH), "valid")
        steps.plot(number[SMOOTH - 1 :][thin], mean[thin], lw=1.6, label=f"mean of {SMOOTH}")
    title_axes(steps, "Loss per step")
    steps.set_xlabel("step")
    steps.legend(frameon=False, fontsize=8.5)
    series = (("train", "train"), ("val", "val"), ("train_eval", "train, eval mode"))
    for colour, (field, label) in zip(PALETTE, series, strict=False):
        points = [(e.epoch, getattr(e, field)) for e in seen.epochs if getattr(e, field) is not None]
        if points:
            epochs.plot(*zip(*points, strict=True), "o-", ms=3, lw=1.6, color=colour, label=label)
    title_axes(epochs, "Loss per epoch")
    epochs.set_xlabel("epoch")
    if epochs.lines:
        epochs.legend(frameon=False, fontsize=8.5)
    return figure


def gradient_figure(seen: Recording) -> Figure:
    """Smallest, median and largest mean |gradient| of the weights over steps, on a log axis."""
    figure, (axes,) = new_figure(9.6, 3.2)
    rows = table(seen.gradients.mean_abs, len(seen.gradients.names))[:, seen.gradients.is_weight]
    values = np.ma.masked_where((rows == ABSENT) | ~np.isfinite(rows) | (rows <= 0), rows)
    steps = np.asarray(seen.gradients.step)[: len(rows)]
    lines = (
        ("largest", values.max(axis=1)),
        ("median", np.ma.median(values, axis=1)),
        ("smallest", values.min(axis=1)),
    )
    for colour, (label, line) in zip(PALETTE, lines, strict=False):
        axes.plot(steps, line, lw=1.5, color=colour, label=label)
    if values.count():
        axes.set_yscale("log")
    title_axes(axes, "Mean |gradient| of the weights")
    axes.set_xlabel("step")
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def step_time_figure(epochs: list[Epoch]) -> Figure:
    """Stacked bars: milliseconds of a step by phase, one bar per epoch."""
    figure, (axes,) = new_figure(9.6, 3.4)
    phases = list(dict.fromkeys(phase for epoch in epochs for phase in epoch.phases))
    bottom = np.zeros(len(epochs))
    colours = (*PALETTE, GREY)
    numbers = [epoch.epoch for epoch in epochs]
    for number, phase in enumerate(phases):
        heights = np.array([1e3 * epoch.phases.get(phase, 0.0) / epoch.steps for epoch in epochs])
        colour = colours[number % len(colours)]
        axes.bar(numbers, heights, bottom=bottom, label=phase, color=colour, width=0.7)
        bottom += heights
    title_axes(axes, "Milliseconds of a step")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def machine_figure(samples: Samples) -> Figure:
    """Use of CPU, memory and each GPU over time, in percent."""
    figure, (axes,) = new_figure(9.6, 3.2)
    lines = {
        "CPU": np.asarray(samples.cpu),
        "I/O wait": np.asarray(samples.io_wait),
        "memory": np.asarray(samples.memory),
    }
    for number, column in enumerate(table(samples.gpu, len(samples.gpus)).T):
        lines[f"gpu{number}"] = column
    for label, line in lines.items():
        seconds = (1 + np.arange(len(line))) / samples.hz
        thin = slice(None, None, max(1, len(line) // POINTS))
        axes.plot(seconds[thin], line[thin], lw=1.3, label=label)
    title_axes(axes, "Use in percent")
    axes.set_xlabel("seconds")
    axes.set_ylim(0, 102)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure

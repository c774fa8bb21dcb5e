"""The plots of a search, as matplotlib figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stocktake.plots import GREY, OURS
from stocktake.report import PALETTE, new_figure, title_axes
from stocktake.tuning.search_space import Choices, Range, SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stocktake.tuning.study import TrialRow

BEST = PALETTE[1]
MARGIN = 0.05  # of a coordinate's height, above and below its values


def history_figure(rows: Sequence[TrialRow], space: SearchSpace) -> Figure:
    """The value of each trial in its turn with the best so far, and the curves of all over their epochs."""
    figure, (history, curves) = new_figure(9.6, 3.7, columns=2)
    for state, marker, colour, name in (
        ("complete", "o", OURS, "complete"),
        ("pruned", "x", GREY, "stopped early"),
    ):
        history.plot(*_numbers_and_values(rows, state), marker, color=colour, label=name)
    numbers, values = _numbers_and_values(rows, "complete")
    so_far = np.maximum.accumulate(values) if space.goal == "maximize" else np.minimum.accumulate(values)
    history.step(numbers, so_far, where="post", color=BEST, lw=1.4, label="best so far")
    for row in rows:
        ended = row.state == "complete"
        curves.plot(
            list(row.curve), list(row.curve.values()), color=OURS if ended else GREY, alpha=0.7, lw=1.2
        )
    _dress(history, "Trials", "trial", space.metric)
    _dress(curves, "Epochs of each trial", "epoch", space.metric)
    history.legend(frameon=False, fontsize=8.5, loc="best")
    return figure


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """The share of each parameter in what the trials differ by, as bars."""
    figure, (axes,) = new_figure(9.6, 1.0 + 0.4 * len(importances))
    names = sorted(importances, key=lambda name: importances[name])
    bars = axes.barh(names, [importances[name] for name in names], height=0.6, color=OURS)
    axes.bar_label(bars, fmt="%.2f", padding=4, fontsize=8.5, color="#475467")
    axes.set_xlim(0, 1.08)
    axes.grid(visible=False, axis="y")
    _dress(axes, "What the result depends on (PED-ANOVA)", "share", "")
    return figure


def parallel_figure(rows: Sequence[TrialRow], space: SearchSpace) -> Figure:
    """One line per complete trial across its parameters and its value; the best one stands out."""
    from matplotlib import colormaps

    complete = [row for row in rows if row.state == "complete" and row.value is not None]
    _, values = _numbers_and_values(rows, "complete")
    low, high = values.min(), values.max()
    quality = (values - low) / (high - low) if high > low else np.ones_like(values)
    if space.goal == "minimize":
        quality = 1 - quality if high > low else quality
    figure, (axes,) = new_figure(9.6, 3.9)
    names = list(space.parameters)
    for place in np.argsort(quality):
        row = complete[place]
        heights = [_height(space.parameters[name], row.parameters[name]) for name in names]
        heights.append(float(quality[place] if space.goal == "maximize" else 1 - quality[place]))
        is_best = place == np.argmax(quality)
        colour = BEST if is_best else colormaps["Blues"](0.25 + 0.6 * quality[place])
        axes.plot(range(len(heights)), heights, color=colour, lw=2.4 if is_best else 1.3)
    for place, name in enumerate(names):
        _scale(axes, place, _marks(space.parameters[name]))
    _scale(
        axes,
        len(names),
        [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(1.0, f"{high:.3g}")],
    )
    axes.set_xticks(range(len(names) + 1), [*names, space.metric])
    axes.set_yticks([])
    axes.set_ylim(-MARGIN, 1 + MARGIN)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    title_axes(axes, "Complete trials across their parameters")
    return figure


def _numbers_and_values(rows: Sequence[TrialRow], state: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(row.number, row.value) for row in rows if row.state == state and row.value is not None]
    table = np.array(found, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _height(parameter: Range | Choices, value: Any) -> float:
    """Where a value lies between the ends of its parameter, 0..1, on the scale that it was searched on."""
    if isinstance(parameter, Choices):
        return parameter.choices.index(value) / max(len(parameter.choices) - 1, 1)
    change = math.log if parameter.log else float
    low, high = change(parameter.low), change(parameter.high)
    return float((change(value) - low) / (high - low))


def _marks(parameter: Range | Choices) -> list[tuple[float, str]]:
    marked = parameter.values
    return [
        (_height(parameter, value), f"{value:g}" if type(value) is float else str(value)) for value in marked
    ]


def _scale(axes: Axes, x: int, marks: list[tuple[float, str]]) -> None:
    axes.axvline(x, color=GREY, lw=0.8)
    for height, text in marks:
        axes.annotate(
            text,
            (x, height),
            xytext=(5, 0),
            textcoords="offset points",
            fontsize=8.5,
            va="center",
            color="#475467",
        )


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    title_axes(axes, title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)

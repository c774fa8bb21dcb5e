"""Plots that shelves and bins share, as matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stocktake.report import PALETTE, new_figure, title_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS = PALETTE[0]
GREY = "#98a2b3"
CALIBRATION_BINS = 10


def reliability_figure(
    confidence: np.ndarray, hit: np.ndarray, title: str, true: str = "right", false: str = "wrong"
) -> Figure:
    """How often answers of a confidence are right, over bins of equal width (a reliability diagram).

    Args:
        confidence: (n,) in 0..1.
        hit: (n,) bool.
        title: what is shown.
        true: what an answer is that hits.
        false: what it is otherwise.
    """
    figure, (axes, counts) = new_figure(9.6, 3.4, columns=2)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    place = np.clip(np.digitize(confidence, edges) - 1, 0, CALIBRATION_BINS - 1)
    total = np.bincount(place, minlength=CALIBRATION_BINS)
    real = np.bincount(place, weights=hit, minlength=CALIBRATION_BINS)
    said = np.bincount(place, weights=confidence, minlength=CALIBRATION_BINS)
    filled = total > 0
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfectly calibrated")
    axes.plot(said[filled] / total[filled], real[filled] / total[filled], "o-", color=OURS, label="stocktake")
    dress(axes, title, "confidence", f"share that is {true}")
    counts.bar(edges[:-1] + 0.05, total, width=0.085, color=GREY, label=false)
    counts.bar(edges[:-1] + 0.05, real, width=0.085, color=OURS, label=true)
    title_axes(counts, "How many, by confidence")
    counts.set_xlabel("confidence")
    counts.legend(frameon=False, fontsize=8.5)
    return figure


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, labels and legend of axes that both run from 0 to 1."""
    title_axes(axes, title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.03)
    axes.legend(frameon=False, fontsize=8.5, loc="best")

"""Plots that shelves and bins share, as matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stocktake.calibration import CalibrationBins
from stocktake.report import PALETTE, new_figure, title_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS = PALETTE[0]
GREY = "#98a2b3"


def reliability_figure(
    bins: CalibrationBins, title: str, right: str = "right", wrong: str = "wrong"
) -> Figure:
    """How often answers of a confidence are right, and how many there are.

    Args:
        bins: see `calibration_bins`.
        title: what is shown.
        right: what an answer is that hits.
        wrong: what it is otherwise.
    """
    figure, (axes, counts) = new_figure(9.6, 3.4, columns=2)
    filled = bins.total > 0
    said, true = (values[filled] / bins.total[filled] for values in (bins.confidence, bins.hits))
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfectly calibrated")
    axes.plot(said, true, "o-", color=OURS, label="stocktake")
    dress(axes, title, "confidence", f"share that is {right}")
    width = bins.edges[1]
    for values, colour, label in ((bins.total, GREY, wrong), (bins.hits, OURS, right)):
        counts.bar(bins.edges[:-1] + width / 2, values, width=0.85 * width, color=colour, label=label)
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

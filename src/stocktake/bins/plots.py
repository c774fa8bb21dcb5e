"""The plots of an evaluation of bins, as matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stocktake.bins.evaluation_scores import ProbabilityScores
from stocktake.plots import GREY, OURS, dress
from stocktake.report import PALETTE, new_figure, title_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(confusion: NDArray[np.integer], classes: list[int]) -> Figure:
    """Shares of each row of (K, K) photos: a true count per row, a counted one per column."""
    side = 1.6 + 0.62 * len(classes)
    figure, (axes,) = new_figure(side + 1, side)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*confusion.shape):
        if confusion[row, column]:
            colour = "white" if share[row, column] > 0.6 else "#1d2939"
            text = f"{share[row, column]:.2f}\n{confusion[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    places = np.arange(len(classes))
    axes.set_xticks(places, map(str, classes))
    axes.set_yticks(places, map(str, classes))
    axes.grid(visible=False)
    axes.set_xlabel("counted")
    axes.set_ylabel("true count")
    title_axes(axes, "What is taken for what")
    return figure


def verification_figure(
    ours: ProbabilityScores, error_rate: float, chosen: tuple[float, float] | None
) -> Figure:
    """Right records accepted over wrong ones accepted, for both rules, and the point that is served.

    Args:
        ours: its curves.
        error_rate: of wrong accepts that thresholds were chosen for.
        chosen: shares of wrong and of right records that are accepted at the card's thresholds.
    """
    figure, (whole, near) = new_figure(9.6, 3.8, columns=2)
    plain = float(ours.argmax.wrong[-1]), float(ours.argmax.right[-1])
    for axes in (whole, near):
        axes.plot(ours.curve.wrong, ours.curve.right, color=OURS, lw=1.8, label="by support")
        axes.plot(
            ours.argmax.wrong, ours.argmax.right, color=GREY, lw=1.4, label="by the most probable count"
        )
        axes.plot(*plain, "X", color=PALETTE[1], ms=8, label="count = record")
        if chosen is not None:
            axes.plot(*chosen, "o", color=OURS, label="served")
        axes.axvline(error_rate, color=GREY, lw=1, ls="--", label=f"{error_rate:.0%} wrong accepts")
        dress(axes, "Records accepted", "share of wrong records", "share of right records")
    near.set_xlim(0, max(3 * error_rate, 1.2 * plain[0]))
    title_axes(near, "The same, nearer")
    near.legend().remove()  # that of the other one will do
    return figure

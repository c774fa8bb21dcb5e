"""The plots of an evaluation, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stocktake.calibration import calibration_bins
from stocktake.plots import GREY, OURS, dress, reliability_figure
from stocktake.report import PALETTE, new_figure
from stocktake.shelf.average_precision import RECALL_STEPS, DetectionScores
from stocktake.shelf.void_scoring import VoidCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CALIBRATION_BINS = 10


def detection_figure(detectors: Mapping[str, DetectionScores], threshold: float) -> Figure:
    """Precision over recall of all detectors; precision, recall, F1 of the first over its threshold."""
    figure, (curve, confidence) = new_figure(9.6, 3.7, columns=2)
    for number, (name, scores) in enumerate(detectors.items()):
        curve.plot(
            RECALL_STEPS,
            scores.precision50,
            label=f"{name}, IoU .5",
            color=PALETTE[number % len(PALETTE)],
            lw=1.8,
        )
        if number == 0:
            curve.plot(
                RECALL_STEPS, scores.precision75, label=f"{name}, IoU .75", color=OURS, lw=1.2, ls="--"
            )
    dress(curve, "Precision over recall", "recall", "precision")
    thresholds = np.linspace(0, 1, 201)
    lines = next(iter(detectors.values())).over_threshold(thresholds)
    _over_threshold(confidence, thresholds, lines, threshold)
    dress(confidence, "Over the score threshold, IoU .5", "score threshold", "")
    return figure


def void_figure(ours: VoidCurve, sliding: tuple[float, float] | None, threshold: float) -> Figure:
    """Void precision over recall, and the scores over the confidence.

    `sliding`: (recall, precision) of the sliding-box heuristic, None = not marked.
    """
    figure, (curve, confidence) = new_figure(9.6, 3.7, columns=2)
    curve.step(ours.recall, ours.precision, where="post", color=OURS, lw=1.8, label="stocktake")
    chosen = _at(ours, threshold)
    if chosen is not None:
        curve.plot(
            ours.recall[chosen],
            ours.precision[chosen],
            "o",
            color=OURS,
            label=f"served, from {threshold:.2f}",
        )
    if sliding is not None:
        curve.plot(*sliding, "X", color=PALETTE[1], ms=9, label="sliding-box heuristic")
    dress(curve, "Void precision over recall, IoU .3", "recall", "precision")
    order = slice(None, None, -1)
    lines = (ours.precision[order], ours.recall[order], ours.f1[order])
    _over_threshold(confidence, ours.confidence[order], lines, threshold)
    dress(confidence, "Over the confidence threshold, IoU .3", "confidence threshold", "")
    return figure


def scene_figure(scenes: list[str], ours: list[float], sliding: list[float]) -> Figure:
    """F1 of both methods, scene by scene, as bars."""
    figure, (axes,) = new_figure(9.6, 0.9 + 0.55 * len(scenes))
    rows = np.arange(len(scenes))[::-1]
    for values, offset, colour, name in (
        (ours, 0.19, OURS, "stocktake"),
        (sliding, -0.19, GREY, "sliding-box heuristic"),
    ):
        bars = axes.barh(rows + offset, values, height=0.34, color=colour, label=name)
        axes.bar_label(bars, fmt="%.2f", padding=4, fontsize=8.5, color="#475467")
    axes.set_yticks(rows, scenes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    dress(axes, "Void F1, IoU .3", "", "")
    axes.set_ylim(-0.6, len(scenes) - 0.4)
    axes.set_xlim(0, 1.08)
    return figure


def calibration_figure(confidence: np.ndarray, hit: np.ndarray) -> Figure:
    """How often voids of a confidence are real: `confidence` (n,) in 0..1, `hit` (n,) bool."""
    bins = calibration_bins(confidence, hit, CALIBRATION_BINS)
    return reliability_figure(bins, "How often a void is real, IoU .3", "real", "false")


def _over_threshold(
    axes: Axes, thresholds: np.ndarray, lines: tuple[np.ndarray, np.ndarray, np.ndarray], chosen: float
) -> None:
    for line, name, colour in zip(lines, ("precision", "recall", "F1"), PALETTE[:3], strict=True):
        axes.plot(thresholds, line, label=name, color=colour, lw=1.8)
    axes.axvline(chosen, color=GREY, lw=1, ls="--", label=f"served, {chosen:.2f}")


def _at(curve: VoidCurve, threshold: float) -> int | None:
    """The last point of the curve whose voids all have the confidence `threshold`."""
    count = int((curve.confidence >= threshold).sum())
    return count - 1 if count else None

"""Whether answers are right as often as their confidence says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class CalibrationBins:
    """Answers in bins of equal width of confidence.

    `edges` (bins + 1,) 0..1; `total` (bins,) answers; `hits` (bins,) those that are right; `confidence`
    (bins,) the sum of what was said.
    """

    edges: Floats
    total: NDArray[np.integer]
    hits: NDArray[Any]
    confidence: NDArray[Any]

    @property
    def ece(self) -> float:
        """The expected calibration error, 0..1: the mean gap between confidence and the share that is right.

        C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
        """
        return float(np.abs(self.hits - self.confidence).sum() / self.total.sum())

    def rows(self) -> list[dict[str, object]]:
        """One row per bin that is not empty."""
        return [
            {
                "confidence": f"{low:.2f} to {high:.2f}",
                "answers": int(total),
                "said": float(said / total),
                "right": float(hits / total),
            }
            for low, high, total, said, hits in zip(
                self.edges, self.edges[1:], self.total, self.confidence, self.hits, strict=False
            )
            if total
        ]


def calibration_bins(confidence: Floats, hit: NDArray[np.bool_], bins: int) -> CalibrationBins:
    """Put answers of `confidence` (n,) 0..1, right where `hit` (n,), into `bins` bins."""
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(confidence, edges) - 1, 0, bins - 1)
    return CalibrationBins(
        edges,
        np.bincount(place, minlength=bins),
        np.bincount(place, weights=hit, minlength=bins),
        np.bincount(place, weights=confidence, minlength=bins),
    )

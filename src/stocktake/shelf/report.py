"""What is said about a photo of a shelf."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Void:
    """One stretch of a tier without products.

    `box` x1, y1, x2, y2 px of the photo; `tier` 1 = lowest; `position` of its first missing facing on the
    tier, 1 = leftmost; `facings` missing; `confidence` 0..1, the probability that it is a void; `kind`: one
    of VOID_KINDS.
    """

    box: tuple[float, float, float, float]
    tier: int
    position: int
    facings: int
    confidence: float
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class ShelfReport:
    """What stands on the shelf of one photo, and what is missing.

    `width`, `height` px of the photo after EXIF rotation, the frame of all boxes; `boxes` (P, 4) float32 xyxy
    px and `scores` (P,) float32 0..1 of the products, best first; `voids`, best confidence first; `tiers`,
    how many; `osa`, on-shelf availability 0..1.
    """

    width: int
    height: int
    boxes: Boxes
    scores: Scores
    voids: list[Void]
    tiers: int
    osa: float

    @classmethod
    def from_json(
        cls, width: int, height: int, report: dict[str, Any], products: list[list[float]]
    ) -> "ShelfReport":
        """What `to_json` has made, with the products that it leaves out: (P, 5) xyxy px and score."""
        found = np.array(products, np.float32).reshape(-1, 5)
        voids = [Void(**{**void, "box": tuple(void["box"])}) for void in report["voids"]]
        return cls(width, height, found[:, :4], found[:, 4], voids, report["tiers"], report["osa"])

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: px to a hundredth, shares to four digits."""
        return {
            "products": len(self.boxes),
            "tiers": self.tiers,
            "osa": round(self.osa, 4),
            "voids": [
                {
                    "box": [round(float(value), 2) for value in void.box],
                    "tier": void.tier,
                    "position": void.position,
                    "facings": void.facings,
                    "confidence": round(float(void.confidence), 4),
                    "kind": void.kind,
                }
                for void in self.voids
            ],
        }

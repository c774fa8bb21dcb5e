"""Voids: places on a shelf where products are missing.

`analyse_shelf` groups product boxes into tiers, finds gaps that are wide for the products beside them, looks at
the photo whether a gap is really bare, and says how sure it is. It is a pure function of boxes and photo.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from stocktake.boxes import as_boxes, as_scores, clip_boxes, usable
from stocktake.errors import DataError
from stocktake.shelf.gaps import Gaps, find_gaps
from stocktake.shelf.tiers import Tiers, find_tiers


class VoidSettings(BaseModel):
    """What counts as a void. Frozen and JSON-serialisable; an impossible value is a pydantic ValidationError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_confidence: float = Field(default=0.3, ge=0, le=1, description="voids below are not reported")
    min_room: float = Field(
        default=0.6, gt=0, description="narrowest gap, in facings of the products beside it"
    )
    edges: bool = Field(default=True, description="report gaps at the ends of a tier")


DEFAULTS = VoidSettings()


@dataclass(frozen=True, slots=True)
class Void:
    """One stretch of a tier without products.

    `box` x1, y1, x2, y2 px of the photo; `tier` 1 = lowest; `position` of its first missing facing on the tier,
    1 = leftmost; `facings` missing; `confidence` 0..1, the probability that it is a void; `kind`: gap (between
    products), edge (at the end of a tier), empty_tier, or low_stock (front row empty, back row full: no alarm).
    """

    box: tuple[float, float, float, float]
    tier: int
    position: int
    facings: int
    confidence: float
    kind: str


@dataclass(frozen=True, slots=True)
class ShelfState:
    """What stands on a shelf of n boxes and what is missing.

    `tiers`: how many; `tier_of_box` (n,) int64, 1 = lowest, 0 = on none; `front` (n,) bool: stands on the board
    in the first row; `voids`, best confidence first; `osa`, on-shelf availability 0..1: front facings over
    front and missing facings, 1 for a shelf without either.
    """

    tiers: int
    tier_of_box: NDArray[np.int64]
    front: NDArray[np.bool_]
    voids: list[Void]
    osa: float


def find_voids(
    boxes: ArrayLike, scores: ArrayLike, photo: NDArray[np.uint8] | None, settings: VoidSettings = DEFAULTS
) -> list[Void]:
    """Voids of one photo, best confidence first: `analyse_shelf(...).voids`."""
    return analyse_shelf(boxes, scores, photo, settings).voids


def analyse_shelf(
    boxes: ArrayLike, scores: ArrayLike, photo: NDArray[np.uint8] | None, settings: VoidSettings = DEFAULTS
) -> ShelfState:
    """Find tiers and voids among product boxes.

    `boxes` (n, 4) x1, y1, x2, y2 px in the frame of `photo`, (H, W, 3) uint8 RGB; with None only geometry
    speaks. `scores` (n,) 0..1. Degenerate boxes (NaN, inside out, outside the photo) are on no tier and have no
    influence. Raises DataError on arrays of another shape or type.
    """
    boxes = as_boxes(boxes)
    scores = as_scores(scores, len(boxes))
    if photo is not None:
        _check_photo(photo)
        boxes = clip_boxes(boxes, photo.shape[1], photo.shape[0])
    kept = np.flatnonzero(usable(boxes))
    tiers = find_tiers(boxes[kept])
    gaps = find_gaps(boxes[kept], tiers, settings.min_room)
    voids = _report(boxes[kept], tiers, gaps)
    missing = sum(void.facings for void in voids if void.kind != "low_stock")
    facings = int(tiers.front.sum())
    tier_of_box, front = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), bool)
    tier_of_box[kept], front[kept] = tiers.of_box, tiers.front
    osa = facings / (facings + missing) if facings + missing else 1.0
    return ShelfState(tiers.count, tier_of_box, front, voids, osa)


def _check_photo(photo: NDArray[np.uint8]) -> None:
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        found = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise DataError(f"photo: found {found}; give an RGB array of shape (height, width, 3), type uint8")


def _report(boxes: NDArray[np.float32], tiers: Tiers, gaps: Gaps) -> list[Void]:
    voids = []
    for k in range(len(gaps)):
        room = float(gaps.room[k])
        tier = int(tiers.number[gaps.board[k]])
        left = tiers.front & (tiers.of_box == tier) & (boxes[:, 0] < gaps.box[k, 0])
        voids.append(
            Void(
                box=tuple(float(v) for v in gaps.box[k]),
                tier=tier,
                position=1 + int(left.sum()),
                facings=max(1, round(room)),
                confidence=float(1 / (1 + np.exp(-4 * (room - 0.7)))),
                kind=str(gaps.kind[k]),
            )
        )
    return sorted(voids, key=lambda void: -void.confidence)

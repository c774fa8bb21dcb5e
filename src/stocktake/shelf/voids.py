"""Voids: places on a shelf where products are missing.

`analyse_shelf` groups product boxes into tiers, finds gaps that are wide for the products beside them, looks
at the photo whether a gap is really bare, and says how sure it is. It is a pure function of boxes and photo.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from stocktake.boxes import as_boxes, as_scores, clip_boxes, usable
from stocktake.errors import DataError
from stocktake.shelf.confidence import (
    GEOMETRY_WEIGHTS,
    PHOTO_WEIGHTS,
    confidence,
    geometry_features,
    photo_features,
)
from stocktake.shelf.empty_tiers import find_empty_tiers
from stocktake.shelf.gaps import Gaps, find_gaps
from stocktake.shelf.level import Indices, Numbers, median
from stocktake.shelf.report import Void
from stocktake.shelf.texture import colours_of, look_at
from stocktake.shelf.tiers import Tiers, find_tiers, number_tiers
from stocktake.void_kinds import EMPTY_TIER, LOW_STOCK

SURELY_FREE = 0.9  # probability of a gap in the front row, by geometry, from which low stock is reported
PRODUCTS_SEEN = 48  # products, spread over the photo, that say how a product looks


class VoidSettings(BaseModel):
    """What counts as a void. Frozen, JSON-serialisable; a bad value is a pydantic ValidationError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_confidence: float = Field(default=0.6, ge=0, le=1, description="alarms below are not reported")
    min_room: float = Field(
        default=0.5, gt=0, description="narrowest gap, in facings of the products beside it"
    )
    edges: bool = Field(default=True, description="look for gaps at the ends of a tier")
    empty_tiers: bool = Field(default=True, description="look for boards without a product")
    weights: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="of what a gap looks like, where they differ from the library's"
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(weights) - set(PHOTO_WEIGHTS)):
            raise ValueError(f"no such weight: {', '.join(unknown)}")
        return weights


DEFAULTS = VoidSettings()


@dataclass(frozen=True, slots=True)
class ShelfState:
    """What stands on a shelf of n boxes and what is missing.

    `tiers`: how many; `tier_of_box` (n,) int64, 1 = lowest, 0 = on none; `front` (n,) bool: stands on the
    board in the first row; `voids`, best confidence first; `osa`, on-shelf availability 0..1: front facings
    over front and missing facings, 1 for a shelf without either.
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
    speaks. `scores` (n,) 0..1. Degenerate boxes (NaN, inside out, outside the photo) are on no tier and have
    no influence. Raises DataError on arrays of another shape or type.
    """
    boxes = as_boxes(boxes)
    scores = as_scores(scores, len(boxes))
    if photo is not None:
        _check_photo(photo)
        boxes = clip_boxes(boxes, photo.shape[1], photo.shape[0])
    kept = np.flatnonzero(usable(boxes) & np.isfinite(scores))
    tiers = find_tiers(boxes[kept])
    gaps, probability = judge_gaps(boxes[kept], scores[kept], tiers, photo, settings)
    shown = probability >= settings.min_confidence
    if (low := gaps.kind == LOW_STOCK).any():  # a back row looks like products: only geometry tells
        shown[low] = confidence(geometry_features(gaps, scores[kept]), GEOMETRY_WEIGHTS)[low] >= SURELY_FREE
    gaps, probability = gaps.pick(shown), probability[shown]
    number, empty = _number_with_empty(tiers, gaps)
    voids = _report(boxes[kept], tiers, gaps, probability, number, empty)
    tier_of_box, front = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.bool_)
    tier_of_box[kept], front[kept] = np.append(number, 0)[tiers.board], tiers.front
    facings, missing = int(front.sum()), sum(void.facings for void in voids if void.kind != LOW_STOCK)
    osa = facings / (facings + missing) if facings + missing else 1.0
    count = int(max(number.max(initial=0), empty.max(initial=0)))
    return ShelfState(count, tier_of_box, front, voids, osa)


def judge_gaps(
    boxes: Numbers,
    scores: Numbers,
    tiers: Tiers,
    photo: NDArray[np.uint8] | None,
    settings: VoidSettings = DEFAULTS,
) -> tuple[Gaps, Numbers]:
    """All gaps that may be voids between usable boxes (n, 4), and the probability (m,) that each is one."""
    gaps = find_candidates(boxes, tiers, photo, settings)
    if not len(gaps):
        return gaps, np.zeros(0)
    weights = GEOMETRY_WEIGHTS if photo is None else PHOTO_WEIGHTS | settings.weights
    return gaps, confidence(describe(boxes, scores, gaps, photo), weights)


def find_candidates(
    boxes: Numbers, tiers: Tiers, photo: NDArray[np.uint8] | None, settings: VoidSettings = DEFAULTS
) -> Gaps:
    """All gaps that may be voids by their geometry, within the photo where there is one."""
    gaps = find_gaps(boxes, tiers, settings.min_room, settings.edges)
    if settings.empty_tiers:
        gaps = gaps.join(find_empty_tiers(boxes, tiers))
    if photo is None:
        return gaps
    seen = clip_boxes(gaps.box, photo.shape[1], photo.shape[0])
    share = (seen[:, 2] - seen[:, 0]) / (gaps.box[:, 2] - gaps.box[:, 0])
    gaps = replace(gaps, box=seen, room=gaps.room * share)
    return gaps.pick((gaps.room >= settings.min_room) & usable(seen))


def describe(
    boxes: Numbers, scores: Numbers, gaps: Gaps, photo: NDArray[np.uint8] | None
) -> dict[str, Numbers]:
    """What confidence is computed from, by name, (m,) each; the looks only where there is a photo."""
    features = geometry_features(gaps, scores)
    if photo is None:
        return features
    usual_height = median(boxes[:, 3] - boxes[:, 1])
    some = boxes[np.linspace(0, len(boxes) - 1, min(len(boxes), PRODUCTS_SEEN)).astype(np.int64)]
    gap, products = look_at(photo, gaps.box, usual_height), look_at(photo, some, usual_height)
    flanks = colours_of(photo, boxes[gaps.left]), colours_of(photo, boxes[gaps.right])
    return features | photo_features(gap, products, colours_of(photo, gaps.box), *flanks)


def _check_photo(photo: NDArray[np.uint8]) -> None:
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        found = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise DataError(f"photo: found {found}; give an RGB array of shape (height, width, 3), type uint8")


def _number_with_empty(tiers: Tiers, gaps: Gaps) -> tuple[Indices, Indices]:
    """Tier of each board and of each empty tier among the gaps, counted together from below."""
    box = gaps.box[gaps.kind == EMPTY_TIER]
    row = tiers.level.row((box[:, 0] + box[:, 2]) / 2, box[:, 3])
    ends = np.append(tiers.x1, box[:, 0]), np.append(tiers.x2, box[:, 2])
    number = number_tiers(np.append(tiers.row, row), *ends)
    return number[: len(tiers.row)], number[len(tiers.row) :]


def _report(
    boxes: Numbers, tiers: Tiers, gaps: Gaps, probability: Numbers, number: Indices, empty: Indices
) -> list[Void]:
    """Voids, best first. A position counts the facings, standing and missing, further left on the tier."""
    tier = number[gaps.board]
    tier[gaps.kind == EMPTY_TIER] = empty
    facings = np.maximum(np.rint(gaps.room), 1).astype(np.int64)
    tier_of_box = np.append(number, 0)[tiers.board]
    voids = []
    for k in np.argsort(-probability, kind="stable"):
        standing = tiers.front & (tier_of_box == tier[k]) & (boxes[:, 0] < gaps.box[k, 0])
        missing = facings[(tier == tier[k]) & (gaps.box[:, 0] < gaps.box[k, 0])]
        x1, y1, x2, y2 = gaps.box[k].tolist()
        position = 1 + int(standing.sum()) + int(missing.sum())
        kind, sure = str(gaps.kind[k]), float(probability[k])
        voids.append(Void((x1, y1, x2, y2), int(tier[k]), position, int(facings[k]), sure, kind))
    return voids

"""Voids of a photo that was decoded at a fraction of its size: all boxes are in px of the whole photo."""

from dataclasses import replace

import numpy as np

from stocktake.boxes import FloatArray, clip_boxes, usable
from stocktake.images import ReducedPhoto
from stocktake.shelf.confidence import PHOTO_WEIGHTS
from stocktake.shelf.level import Numbers
from stocktake.shelf.report import Void
from stocktake.shelf.tiers import find_tiers
from stocktake.shelf.voids import ShelfState, VoidSettings, analyse_shelf, describe, find_candidates
from stocktake.void_kinds import LOW_STOCK

VOIDS_NEED = 1280  # px of a photo's longer side; with less, packs lose the print that tells them from gaps
NOTHING: Numbers = np.zeros(0)


def analyse_photo(
    boxes: FloatArray, scores: FloatArray, photo: ReducedPhoto, settings: VoidSettings
) -> ShelfState:
    """`analyse_shelf` on the pixels there are.

    `boxes` (n, 4) xyxy px of the whole photo, as are those of the voids; `scores` (n,) 0..1.
    """
    shelf = analyse_shelf(photo.to_pixels(boxes), scores, photo.pixels, settings)
    if photo.reduction == 1:
        return shelf
    return replace(shelf, voids=[_whole(void, photo) for void in shelf.voids])


def describe_photo(
    boxes: FloatArray, scores: FloatArray, photo: ReducedPhoto, settings: VoidSettings
) -> tuple[FloatArray, dict[str, Numbers]]:
    """All gaps that may be voids: boxes (m, 4) xyxy px of the whole photo, and their features by name, (m,).

    `boxes` and `scores` as in `analyse_photo`.
    """
    boxes = clip_boxes(photo.to_pixels(boxes), photo.pixels.shape[1], photo.pixels.shape[0])
    kept = usable(boxes) & np.isfinite(scores)
    boxes, scores = boxes[kept], scores[kept]
    gaps = find_candidates(boxes, find_tiers(boxes), photo.pixels, settings)
    gaps = gaps.pick(gaps.kind != LOW_STOCK)
    features = dict.fromkeys(PHOTO_WEIGHTS, NOTHING)
    if len(gaps):
        features = describe(boxes, scores, gaps, photo.pixels)
    return clip_boxes(photo.to_whole(gaps.box), photo.width, photo.height), features


def _whole(void: Void, photo: ReducedPhoto) -> Void:
    box = photo.to_whole(np.array([void.box], np.float32))
    x1, y1, x2, y2 = clip_boxes(box, photo.width, photo.height)[0].tolist()
    return replace(void, box=(x1, y1, x2, y2))

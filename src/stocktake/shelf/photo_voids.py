"""Voids of a photo that was decoded at a fraction of its size: all boxes are in px of the whole photo."""

from dataclasses import replace

import numpy as np

from stocktake.boxes import FloatArray, clip_boxes
from stocktake.images import ReducedPhoto
from stocktake.shelf.voids import ShelfState, Void, VoidSettings, analyse_shelf

VOIDS_NEED = 1280  # px of a photo's longer side; with less, packs lose the print that tells them from gaps


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


def _whole(void: Void, photo: ReducedPhoto) -> Void:
    box = photo.to_whole(np.array([void.box], np.float32))
    x1, y1, x2, y2 = clip_boxes(box, photo.width, photo.height)[0].tolist()
    return replace(void, box=(x1, y1, x2, y2))

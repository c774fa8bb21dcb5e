"""The void heuristic to beat: slide each box sideways by its own width, and call what is dark there a void.

This project grew from it. Written anew from a description of the method, quirks included: neighbours only
within 320 px whatever the photo's size, an overlap that comes out positive for boxes that miss each other
diagonally, no tiers, no merging of the two reports of one gap. Only its crashes (no boxes, one box) are gone.
Where the description leaves a choice, such as when a neighbour is near, the reading that scores better on
held-out SKU-110K products is taken.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stocktake.boxes import FloatArray, as_boxes, as_scores, box_area, usable
from stocktake.shelf.report import Void
from stocktake.void_kinds import GAP

NEIGHBOURHOOD = 320.0  # px: half of the detector's input width, applied to the photo's own pixels
MOST_OVERLAP = 0.1
DARK = 50.0  # mean grey level, 0..255


def find_voids_by_sliding(
    boxes: ArrayLike,
    scores: ArrayLike,
    photo: NDArray[np.uint8] | None,
    size: tuple[int, int] | None = None,
) -> list[Void]:
    """Voids as the heuristic reports them, in the order of the boxes.

    `boxes` (n, 4) xyxy px, `scores` (n,) 0..1, `photo` (H, W, 3) uint8 RGB; with None, every free place
    counts as dark, and `size` (width, height) or else the boxes' own extent gives the photo's border. A void
    is as large as the box that it was slid from, has its score as confidence, one facing, and tier and
    position 0: the method knows neither. Raises DataError for malformed boxes or scores.
    """
    products = as_boxes(boxes)
    confidence = as_scores(scores, len(products))
    good = usable(products)
    products, confidence = products[good], confidence[good]
    if len(products) == 0:
        return []
    if photo is not None:
        size = (photo.shape[1], photo.shape[0])
    width, height = size or products[:, 2:].max(0)
    step = products[:, 2] - products[:, 0]
    slide = np.stack([step, np.zeros_like(step), step, np.zeros_like(step)], 1)
    places = np.stack([products - slide, products + slide], 1).reshape(
        -1, 4
    )  # left and right of box 0, of box 1, …
    inside = (places[:, :2] >= 0).all(1) & (places[:, 2] <= width) & (places[:, 3] <= height)
    found = inside & _is_free(places, products)
    if photo is not None:
        found &= _mean_grey(places, photo) < DARK
    return [
        Void((float(x1), float(y1), float(x2), float(y2)), 0, 0, 1, float(confidence[k // 2]), GAP)
        for k, (x1, y1, x2, y2) in zip(np.flatnonzero(found), places[found], strict=True)
    ]


def _is_free(places: FloatArray, products: FloatArray) -> NDArray[np.bool_]:
    """(2n,) whether a place overlaps no near product; sides are multiplied without being clipped at 0."""
    lower, upper = places[:, None, :2], places[:, None, 2:]
    sides = np.minimum(upper, products[None, :, 2:]) - np.maximum(lower, products[None, :, :2])
    shared = sides.prod(2)
    union = box_area(places)[:, None] + box_area(products)[None] - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union != 0)
    centres = (lower + upper) / 2
    near = (products[:, :2] >= centres - NEIGHBOURHOOD) & (products[:, 2:] <= centres + NEIGHBOURHOOD)
    return ~((overlap >= MOST_OVERLAP) & near.all(2)).any(1)


def _mean_grey(places: FloatArray, photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(m,) mean grey level of the places; those with no pixel in the photo come out as bright."""
    total = cv2.integral(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    corners = np.clip(np.rint(places), 0, [photo.shape[1], photo.shape[0]] * 2).astype(int)
    x1, y1, x2, y2 = corners.T
    pixels = (x2 - x1) * (y2 - y1)
    grey = (total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]) / np.maximum(pixels, 1)
    return np.where(pixels > 0, grey, 255.0)

"""How a gap looks beside products: shelf backs are smooth, packs are printed.

Edge energy does not depend on brightness: dark, white and pegboard backs all have little of it compared with
the packs around them. Only the patches that matter are read and shrunk, never the whole photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stocktake.shelf.level import Numbers

INNER = 0.76  # share of a box's width and height that is looked at: its rim shows the neighbours
PRODUCT_HEIGHT = 72  # px to which a usual product is shrunk: keeps print, loses noise and pegboard holes
SKIP_BELOW = 0.4  # scale below which every other pixel is left out: a third of the time, nothing lost
SMALLEST = 4  # px; a patch with a shorter side is not judged
STRIPS = 3  # of a patch from left to right; the calmest counts, as sides of neighbours reach into a gap
THIN = 24  # pixels each way are enough for mean colours
BANDS = 3  # of the colour profile, from top to bottom


@dataclass(frozen=True, slots=True)
class Looks:
    """How m patches look, float32; NaN where a patch has too few pixels.

    `energy` (m,): mean gradient of the calmest strip, in Sobel units of grey levels; `light` (m,): mean grey
    level 0..255.
    """

    energy: Numbers
    light: Numbers


def look_at(photo: NDArray[np.uint8], boxes: Numbers, usual_height: float) -> Looks:
    """Look into boxes (m, 4) on the photo (H, W, 3); a product's `usual_height`, px, sets the scale."""
    scale = min(1.0, PRODUCT_HEIGHT / usual_height)
    skip = 2 if scale < SKIP_BELOW else 1
    table = np.full((len(boxes), 2), np.nan, np.float32)
    for row, patch in zip(table, _insides(photo, boxes), strict=True):
        if min(patch.shape[:2]) < SMALLEST:
            continue
        size = [max(SMALLEST, round(side * scale)) for side in (patch.shape[1], patch.shape[0])]
        grey = cv2.cvtColor(np.ascontiguousarray(patch[::skip, ::skip]), cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        gradient = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        strips = cv2.resize(gradient, (STRIPS, 1), interpolation=cv2.INTER_AREA)
        row[:] = strips.min(), cv2.mean(grey)[0]
    return Looks(*table.T)


def colours_of(photo: NDArray[np.uint8], boxes: Numbers) -> Numbers:
    """(m, BANDS * 3) mean RGB of the bands of each box (m, 4), from top to bottom; NaN if too small."""
    table = np.full((len(boxes), BANDS * 3), np.nan, np.float32)
    for row, patch in zip(table, _insides(photo, boxes), strict=True):
        if min(patch.shape[:2]) >= SMALLEST:
            thin = np.ascontiguousarray(
                patch[:: max(1, len(patch) // THIN), :: max(1, patch.shape[1] // THIN)]
            )
            row[:] = cv2.resize(thin, (1, BANDS), interpolation=cv2.INTER_AREA).ravel()
    return table


def _insides(photo: NDArray[np.uint8], boxes: Numbers) -> list[NDArray[np.uint8]]:
    """The pixels of each box without its rim, as views of the photo."""
    inset = (boxes[:, 2:] - boxes[:, :2]) * (1 - INNER) / 2
    starts = np.maximum(np.ceil(boxes[:, :2] + inset), 0).astype(np.int64).tolist()
    ends = np.maximum(np.floor(boxes[:, 2:] - inset), 0).astype(np.int64).tolist()
    return [photo[y1:y2, x1:x2] for (x1, y1), (x2, y2) in zip(starts, ends, strict=True)]

"""How a gap looks beside products: bare shelf backs are smooth, products are printed.

The measure is edge energy, which does not depend on brightness: dark, white and pegboard backs all have little
compared with the packs beside them. Only the patches that matter are read and shrunk, never the whole photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stocktake.boxes import FloatArray

INNER = 0.76  # share of a box's width and height that is looked at: its rim shows the neighbours
PATCH_HEIGHT = 48  # px to which a usual product is shrunk: keeps print, loses noise and pegboard holes


@dataclass(frozen=True, slots=True)
class Looks:
    """How m patches look; all (m,) float32. NaN where the patch has no pixels.

    `energy`: mean gradient, grey levels per px; `chroma`: mean distance from grey, grey levels; `light`: mean
    brightness; `contrast`: standard deviation of brightness.
    """

    energy: FloatArray
    busiest: FloatArray
    chroma: FloatArray
    light: FloatArray
    contrast: FloatArray


def look_at(photo: NDArray[np.uint8], boxes: FloatArray, usual_height: float) -> Looks:
    """Measure the inside of boxes (m, 4) on the photo (H, W, 3); `usual_height` px of a product sets the scale."""
    scale = min(1.0, PATCH_HEIGHT / max(usual_height, 1.0))
    return Looks(*np.array([_patch(photo, box, scale) for box in boxes], np.float32).reshape(-1, 5).T)


def _patch(photo, box, scale):
    inset = (box[2:] - box[:2]) * (1 - INNER) / 2
    x1, y1 = np.maximum(np.ceil(box[:2] + inset), 0).astype(int)
    x2, y2 = np.floor(box[2:] - inset).astype(int)
    patch = photo[y1:y2, x1:x2]
    if patch.shape[0] < 4 or patch.shape[1] < 4:
        return (np.nan,) * 5
    size = max(4, round(patch.shape[1] * scale)), max(4, round(patch.shape[0] * scale))
    small = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    edges = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
    cells = cv2.resize(edges, (2, 3), interpolation=cv2.INTER_AREA)
    mean, deviation = cv2.meanStdDev(grey)
    chroma = np.mean(small.max(axis=2).astype(np.float32) - small.min(axis=2))
    return float(edges.mean()), float(np.sort(cells.ravel())[-2]), float(chroma), mean[0, 0], deviation[0, 0]

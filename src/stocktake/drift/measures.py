"""The few numbers per photo whose distribution is watched: of the picture, and of what was found on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from stocktake.boxes import FloatArray
from stocktake.images import Pixels, decode_reduced

SIDE = 480  # px of the longer side at which sharpness is measured; that of another size is another number

Measures = dict[str, float]


def measure_photo(data: bytes) -> Measures:
    """Brightness and sharpness of a JPEG, PNG or WebP.

    `brightness` is the mean grey level, 0..255. `sharpness` is the logarithm of the variance of the
    Laplacian at 480 px (J. Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, 2000); a
    blurred photo has a lower one.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `stocktake.images.check_photo`.
    """
    return measure_pixels(decode_reduced(data, SIDE).pixels)


def measure_pixels(pixels: Pixels) -> Measures:
    """`measure_photo` of pixels (H, W, 3) uint8 RGB."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = SIDE / max(grey.shape)
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in grey.shape)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    sharpness = float(np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var()))
    return {"brightness": round(float(grey.mean()), 2), "sharpness": round(sharpness, 4)}


def measure_shelf(report: Mapping[str, Any], scores: "Sequence[float] | FloatArray") -> Measures:
    """How many `products`, and their mean `score` where there are any, of a shelf's report."""
    found = {"products": float(report["products"])}
    return {**found, "score": round(float(np.mean(scores)), 4)} if len(scores) else found


def measure_bin(report: Mapping[str, Any]) -> Measures:
    """The `count` and its `probability`, of a bin's report."""
    return {"count": float(report["count"]), "probability": float(max(report["probabilities"]))}

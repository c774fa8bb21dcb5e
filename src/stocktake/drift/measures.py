"""The few numbers per photo whose distribution is watched: of the picture, and of what was found on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stocktake.photo_header import read_info
from stocktake.small_photos import memory_of, open_small

SIDE = 480  # px of the longer side at which sharpness is measured; that of another size is another number

Measures = dict[str, float]


def measure_photo(data: bytes) -> Measures:
    """Brightness and sharpness of a JPEG, PNG or WebP.

    `brightness` is the mean grey level, 0..255. `sharpness` is the logarithm of the variance of the
    Laplacian at 480 px (J. Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, 2000); a
    blurred photo has a lower one.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `stocktake.small_photos.open_small`.
    """
    grey = open_small(data, SIDE, "L")
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=None)
    levels = np.asarray(grey, np.float32)
    sharpness = float(np.log1p(_laplacian(levels).var()))
    return {"brightness": round(float(levels.mean()), 2), "sharpness": round(sharpness, 4)}


def memory_to_measure(data: bytes) -> int:
    """Bytes that `measure_photo` takes at most; raises as `stocktake.photo_header.read_info`."""
    return memory_of(read_info(data), SIDE)


def measure_shelf(report: Mapping[str, Any], scores: "Sequence[float] | NDArray[np.float32]") -> Measures:
    """How many `products`, and their mean `score` where there are any, of a shelf's report."""
    found = {"products": float(report["products"])}
    return {**found, "score": round(float(np.mean(scores)), 4)} if len(scores) else found


def measure_bin(report: Mapping[str, Any]) -> Measures:
    """The `count` and its `probability`, of a bin's report."""
    return {"count": float(report["count"]), "probability": float(max(report["probabilities"]))}


def _laplacian(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each pixel (H, W) is from the four beside it; the photo is mirrored at its edges."""
    wide = np.pad(levels, 1, "reflect")
    return wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * levels

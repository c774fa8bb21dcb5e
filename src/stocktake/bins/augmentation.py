"""What a training does to a photo of a bin: mirror it, change its light and colours a little, blur it.

Nothing here moves an item out of sight: no crop, no rotation, no vertical flip. A count must stay true.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stocktake.images import Pixels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of RGB, ITU-R BT.601
MIRRORED = 0.5  # shares of photos
BLURRED = 0.2
LIGHT = 0.3  # at strength 1, factors lie in 1 - x .. 1 + x
CONTRAST = 0.3
SATURATION = 0.3
SIGMA = (0.3, 1.2)  # px of the square, at strength 1
PIVOT = 127.5  # the grey that contrast leaves alone


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to one photo."""

    mirror: bool
    colour: NDArray[np.float32]  # (3, 4): RGB in 0..255 to RGB, affine
    sigma: float  # px; 0 = no blur


def draw_change(rng: np.random.Generator, strength: float) -> Change:
    """Draw what is done to a photo. `strength` over 0; 1 is mild."""
    light, contrast, saturation = 1 + strength * np.array([LIGHT, CONTRAST, SATURATION]) * rng.uniform(
        -1, 1, 3
    )
    mix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMA[None]
    offset = np.full((3, 1), (1 - contrast) * PIVOT)
    colour = np.hstack([mix * light * contrast, offset]).astype(np.float32)
    mirror, is_blurred = rng.random(2) < (MIRRORED, BLURRED)
    return Change(bool(mirror), colour, strength * rng.uniform(*SIGMA) if is_blurred else 0.0)


def augment(square: Pixels, change: Change) -> Pixels:
    """A changed copy of a square (S, S, 3) uint8 RGB."""
    changed: Pixels = cv2.transform(square, change.colour)  # rounds, and clips to 0..255
    if change.mirror:
        changed = cv2.flip(changed, 1)
    if change.sigma:
        changed = cv2.GaussianBlur(changed, (0, 0), change.sigma)
    return changed

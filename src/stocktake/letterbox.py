"""The square that a model looks at: a photo shrunk or grown to fit, the rest filled with grey."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING = 114  # the grey that YOLOv5 is trained with


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A photo that was shrunk or grown to fit a square, and how to get back from there."""

    square: NDArray[np.uint8]  # (S, S, 3)
    scale_x: float  # px of the square per px of the photo
    scale_y: float
    left: int  # px of padding beside and above the photo
    top: int

    def to_photo(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy px of the square in px of the photo."""
        corner = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return np.asarray((boxes - corner) / scale, np.float32)


def letterbox(photo: NDArray[np.uint8], size: int, antialias: bool = False) -> Letterbox:
    """Fit a photo (H, W, 3) into a square of `size` px, centred, the rest filled with grey.

    The arithmetic of the LetterBox that ultralytics validates and predicts with: bilinear, sides rounded to
    whole pixels, an odd pixel of padding at the right or bottom. With `antialias`, a pixel of a shrunk photo
    is the mean of all that it covers: bilinear shrinking makes patterns of its own of threads and print.
    """
    height, width = photo.shape[:2]
    scale = min(size / height, size / width)
    inner_width, inner_height = max(round(width * scale), 1), max(round(height * scale), 1)
    if (inner_width, inner_height) != (width, height):
        how = cv2.INTER_AREA if antialias and scale < 1 else cv2.INTER_LINEAR
        photo = cv2.resize(photo, (inner_width, inner_height), interpolation=how)
    left, top = (size - inner_width) // 2, (size - inner_height) // 2
    square = np.full((size, size, 3), PADDING, np.uint8)
    square[top : top + inner_height, left : left + inner_width] = photo
    return Letterbox(square, inner_width / width, inner_height / height, left, top)

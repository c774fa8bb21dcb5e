"""How a photo of a bin becomes the square that a counter sees: one way, in training and in serving."""

from stocktake.images import Pixels
from stocktake.letterbox import Letterbox, letterbox

FITTING = "area"  # part of the names of files that hold squares: another way of fitting is another name
# Sides of the square that a photo keeps when it is decoded reduced. Training averages over whole photos; with
# three sides left the difference is that of a photo cut by a pixel, with two it is twice that.
MODEL_NEEDS = 3


def fit_bin(photo: Pixels, size: int) -> Letterbox:
    """Fit a photo (H, W, 3) uint8 RGB into a square of `size` px: whole, centred, grey beside it.

    Pixels are averaged where it shrinks, since the tape and print of bins would leave a pattern otherwise.
    """
    return letterbox(photo, size, antialias=True)

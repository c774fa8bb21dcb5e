"""The pixels of a photo, whole or at a fraction of its size.

Pixels come from OpenCV, as they do in training: turned by their EXIF orientation, grey and CMYK converted to
RGB, 16 bits scaled to 8, transparency ignored. A JPEG can be decoded at a half, a quarter or an eighth of its
size in a fraction of the time, and every pixel is then the mean of those that it stands for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from stocktake.errors import UnsupportedImage
from stocktake.letterbox import Letterbox
from stocktake.photo_header import MAX_PIXELS, PhotoInfo, read_info

Pixels = NDArray[np.uint8]
EncodedPhoto = bytes | memoryview  # a whole JPEG, PNG or WebP file

TURN_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {  # by EXIF orientation
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
# EXIF orientations whose left edge, and whose top edge, is the right or the bottom one as stored
LEFT_IS_FAR, TOP_IS_FAR = (2, 3, 6, 7), (3, 4, 7, 8)
REDUCE = {  # what tells the decoder: single bits, whatever their names say of colour
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, slots=True, eq=False)
class ReducedPhoto:
    """An upright photo of which a pixel stands for `reduction` x `reduction` px of the whole one.

    The last pixels of a row or column may reach over the edge of the whole photo. Where turning it upright
    has brought them to the left or to the top, `origin`, where the first pixel begins, is less than 0.
    """

    pixels: Pixels  # (h, w, 3) RGB
    width: int  # px of the whole photo
    height: int
    reduction: int = 1  # 1, 2, 4 or 8
    origin: tuple[int, int] = (0, 0)  # x, y in px of the whole photo

    @classmethod
    def of(cls, pixels: Pixels, least_side: int | None = None) -> Self:
        """Reduce a decoded photo (H, W, 3) RGB as its JPEG would have been; None leaves it whole."""
        height, width = pixels.shape[:2]
        reduction = choose_reduction(width, height, least_side)
        return cls(shrink(pixels, reduction), width, height, reduction)

    def to_whole(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy px of `pixels` in px of the whole photo."""
        return boxes * np.float32(self.reduction) + np.array(self.origin * 2, np.float32)

    def to_pixels(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy px of the whole photo in px of `pixels`."""
        return (boxes - np.array(self.origin * 2, np.float32)) / np.float32(self.reduction)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto:
    """A photo and the square that the model sees of it."""

    photo: ReducedPhoto
    fitted: Letterbox

    @property
    def tensor(self) -> Pixels:
        """(S, S, 3) uint8 RGB: what the model sees."""
        return self.fitted.square

    @property
    def width(self) -> int:
        """Px of the whole upright photo."""
        return self.photo.width

    @property
    def height(self) -> int:
        """Px of the whole upright photo."""
        return self.photo.height

    def to_photo(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy px of the square in px of the whole photo."""
        return self.photo.to_whole(self.fitted.to_photo(boxes))


def check_photo(data: bytes, max_pixels: int = MAX_PIXELS) -> PhotoInfo:
    """Decode a photo to its last byte and say what it is.

    A JPEG is decoded to greyscale at an eighth of its size, which reads the whole stream at a fifth of the
    cost. Damage within the stream that still decodes can't be seen.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `read_info`; also one that is truncated or damaged.
    """
    info = read_info(data, max_pixels)
    _decode(data, cv2.IMREAD_GRAYSCALE, info, 8 if info.format == "jpeg" else 1)
    return info


def decode_photo(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels of a JPEG, PNG or WebP: (H, W, 3) uint8 RGB, upright.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `check_photo`.
    """
    return decode_reduced(data, None, max_pixels).pixels


def decode_reduced(data: EncodedPhoto, least_side: int | None, max_pixels: int = MAX_PIXELS) -> ReducedPhoto:
    """A JPEG, PNG or WebP, upright; a JPEG as far reduced as its user allows.

    Args:
        data: the file.
        least_side: px that the longer side keeps at least; None for the whole photo.
        max_pixels: more are refused.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `check_photo`.
    """
    info = read_info(data, max_pixels)
    reduction = choose_reduction(info.width, info.height, least_side) if info.format == "jpeg" else 1
    return turn_upright(_decode(data, cv2.IMREAD_COLOR_RGB, info, reduction), info, reduction)


def choose_reduction(width: int, height: int, least_side: int | None) -> int:
    """The largest of 1, 2, 4, 8 that leaves the longer side of a photo `least_side` px; 1 for None."""
    if least_side is None:
        return 1
    return max(factor for factor in REDUCE if factor == 1 or max(width, height) >= factor * least_side)


def shrink(pixels: Pixels, reduction: int) -> Pixels:
    """Means of squares of `reduction` px: (H, W, 3) as a JPEG of it would be decoded, within a few levels."""
    if reduction == 1:
        return pixels
    height, width = (-(-side // reduction) for side in pixels.shape[:2])
    over = height * reduction - pixels.shape[0], width * reduction - pixels.shape[1]
    if any(over):
        pixels = cv2.copyMakeBorder(pixels, 0, over[0], 0, over[1], cv2.BORDER_REPLICATE)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def turn_upright(pixels: Pixels, info: PhotoInfo, reduction: int) -> ReducedPhoto:
    """The photo of decoded pixels (h, w, 3) as they are stored, whole or reduced.

    Raises:
        UnsupportedImage: they are not of the size that the header promised.
    """
    stored_size = pixels.shape[1::-1]
    if stored_size == info.stored_size:
        reduction = 1  # a lossless JPEG is never reduced
    elif stored_size != tuple(-(-side // reduction) for side in info.stored_size):
        raise UnsupportedImage(f"the header of the {info.format} has another size than its pixels")
    orientation = info.exif_orientation
    if turn := TURN_UPRIGHT.get(orientation):
        pixels = turn(pixels)
    left = info.width - pixels.shape[1] * reduction if orientation in LEFT_IS_FAR else 0
    top = info.height - pixels.shape[0] * reduction if orientation in TOP_IS_FAR else 0
    return ReducedPhoto(pixels, info.width, info.height, reduction, (left, top))


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """A JPEG file of pixels (H, W, 3) uint8 RGB or (H, W) uint8 grey."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def _decode(data: EncodedPhoto, colour: int, info: PhotoInfo, reduction: int) -> Pixels:
    # From memory OpenCV refuses a stream that stops before its end marker; from a file it would warn and fill
    # up with grey, so photos are never read by path. It reads damaged EXIF in another way than Pillow, and
    # size and pixels must fit, so only one of them looks at the orientation.
    flags = colour | REDUCE[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise UnsupportedImage(f"the {info.format} is truncated or damaged: it can't be decoded to its end")
    return pixels

"""Photos in small, for people and for measures, by Pillow: the gateway is spared OpenCV.

What models see comes from `stocktake.images`, in the pixels of their training.
"""

import io
from typing import Literal

from PIL import Image

from stocktake.errors import UnsupportedImage
from stocktake.photo_header import MAX_PIXELS, PhotoInfo, read_info

TURN_UPRIGHT = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_small(
    data: bytes, least_side: int | None, mode: Literal["RGB", "L"] = "RGB", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """A JPEG, PNG or WebP, upright, in colour or grey; a JPEG reduced while it is decoded.

    Args:
        data: the file.
        least_side: px that the longer side keeps at least; None for the whole photo. A JPEG comes at a half,
            a quarter or an eighth of its size, rounded up; others come whole.
        mode: in grey, the colours of a JPEG are not computed.
        max_pixels: more are refused, before any is decoded.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `read_info`; also one that cannot be decoded.
    """
    info = read_info(data, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as photo:
            photo.draft(mode, _at_least(info, least_side))
            pixels = _eight_bits(photo).convert(mode)
    except MemoryError:
        raise  # no fault of the photo
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise UnsupportedImage(f"the {info.format} is truncated or damaged: it can't be decoded") from error
    turn = TURN_UPRIGHT.get(info.exif_orientation)
    return pixels if turn is None else pixels.transpose(turn)


def encode_small(picture: Image.Image) -> bytes:
    """A JPEG file of an RGB picture, without metadata."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def _at_least(info: PhotoInfo, least_side: int | None) -> tuple[int, int]:
    """Width and height as stored that the decoder may not go below."""
    width, height = info.stored_size
    if least_side is None:
        return width, height
    scale = least_side / max(width, height)
    return max(1, int(width * scale)), max(1, int(height * scale))


def _eight_bits(photo: Image.Image) -> Image.Image:
    """16 bits of grey scaled to 8: Pillow itself would cut them off at 255."""
    return photo.point(lambda level: level / 257) if photo.mode == "I;16" else photo

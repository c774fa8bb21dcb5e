"""Photos in small, for people and for measures, by Pillow: the gateway is spared OpenCV.

What models see comes from `stocktake.images`, in the pixels of their training.
"""

import io
from typing import Literal

from PIL import Image

from stocktake.errors import PhotoTooLarge, UnsupportedImage
from stocktake.photo_header import MAX_PIXELS, PhotoInfo, read_info

MAX_DECODER_BYTES = 320_000_000  # that a decoder may hold for one photo: a PNG of MAX_PIXELS
BYTES_PER_PIXEL = 4  # of Pillow's colours, of which there are three
WHOLE = {"png": 4, "webp": 16}  # bytes for each pixel; of a WebP two canvases, a copy of one and the picture
COEFFICIENT = 2  # bytes of a JPEG's, one for each pixel and colour
TILE = 1024  # px; eighths of it are whole

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
    """A JPEG, PNG or WebP, upright, in colour or grey, in as little memory as its format allows.

    Args:
        data: the file.
        least_side: px that the longer side keeps at least; None for the whole photo. It comes whole, or at a
            half, a quarter or an eighth of its size, rounded up: a JPEG is decoded so, others are reduced
            before anything else is done with them.
        mode: in grey, the colours of a JPEG are not computed.
        max_pixels: more are refused, before any is decoded.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `read_info`; also one that cannot be decoded.
    """
    info = read_info(data, max_pixels)
    try:
        picture = _decode(data, info, least_side, mode)
    except MemoryError:
        raise  # no fault of the photo
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise UnsupportedImage(f"the {info.format} is truncated or damaged: it can't be decoded") from error
    turn = TURN_UPRIGHT.get(info.exif_orientation)
    return picture if turn is None else picture.transpose(turn)


def check_memory(info: PhotoInfo) -> None:
    """Raise PhotoTooLarge where a decoder would need more than MAX_DECODER_BYTES for a photo."""
    pixels = info.width * info.height
    if _decoder_bytes(info) > MAX_DECODER_BYTES:
        most = MAX_DECODER_BYTES * pixels // _decoder_bytes(info)
        kind = "jpeg in several scans" if info.format == "jpeg" else info.format
        raise PhotoTooLarge(
            f"the photo has {info.width}x{info.height} pixels; of a {kind}, which is unpacked whole, at most "
            f"{most:,} are taken: send it smaller, or as an ordinary jpeg"
        )


def memory_of(info: PhotoInfo, least_side: int | None) -> int:
    """Bytes that `open_small` takes at most, its decoder's included."""
    small = info.width * info.height // _factor(info, least_side) ** 2
    return _decoder_bytes(info) + 2 * BYTES_PER_PIXEL * small  # converted, or turned


def encode_small(picture: Image.Image) -> bytes:
    """A JPEG file of an RGB picture, without metadata."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, comment=b"")  # Pillow would keep that of the photo
    return file.getvalue()


def _decode(data: bytes, info: PhotoInfo, least_side: int | None, mode: str) -> Image.Image:
    """As stored: not turned yet. What the decoder held is free again, unless it is what was wanted."""
    factor, (width, height) = _factor(info, least_side), info.stored_size
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as photo:
        if photo.draft(mode, (max(1, width // factor), max(1, height // factor))):  # a JPEG
            factor = 1
        photo.load()
        return photo if (photo.mode, factor) == (mode, 1) else _reduce(photo, factor, mode)


def _reduce(photo: Image.Image, factor: int, mode: str) -> Image.Image:
    """In another mode, each side divided by 1, 2, 4 or 8; tile by tile, since Pillow copies for each step."""
    small = Image.new(mode, (-(-photo.width // factor), -(-photo.height // factor)))
    for top in range(0, photo.height, TILE):
        for left in range(0, photo.width, TILE):
            right, bottom = min(left + TILE, photo.width), min(top + TILE, photo.height)
            tile = _eight_bits(photo.crop((left, top, right, bottom))).convert(mode)
            small.paste(tile.reduce(factor), (left // factor, top // factor))
    return small


def _factor(info: PhotoInfo, least_side: int | None) -> int:
    """By which each side is divided."""
    if least_side is None:
        return 1
    return next((factor for factor in (8, 4, 2) if max(info.stored_size) // least_side >= factor), 1)


def _decoder_bytes(info: PhotoInfo) -> int:
    """What a decoder holds of a whole photo: its pixels, or the coefficients of a JPEG in several scans."""
    each = WHOLE.get(info.format, 0)
    if info.scans > 1:
        each = COEFFICIENT * Image.getmodebands(info.mode)
    return each * info.width * info.height


def _eight_bits(photo: Image.Image) -> Image.Image:
    """16 bits of grey scaled to 8: Pillow itself would cut them off at 255."""
    return photo.point(lambda level: level / 257) if photo.mode == "I;16" else photo

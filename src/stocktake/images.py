"""Photos: what the bytes are, the pixels in them, and the square that a model looks at.

JPEG, PNG and WebP are read. The size comes from the header before a pixel is decoded, so that a small file
that unpacks to gigabytes is refused. Pixels come from OpenCV, as they do in training: turned by their EXIF
orientation, grey and CMYK converted to RGB, 16 bits scaled to 8, transparency ignored.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stocktake.errors import PhotoTooLarge, UnsupportedImage

Pixels = NDArray[np.uint8]

MAX_BYTES = 64 << 20
MAX_PIXELS = 80_000_000  # 240 MB once decoded; below the number at which Pillow begins to warn
FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}  # MPO: a JPEG with a second view
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
TURN_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {  # by EXIF orientation
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
PADDING = 114  # the grey that YOLOv5 is trained with


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """What the header of a photo says."""

    width: int  # px after EXIF rotation
    height: int
    format: str  # jpeg | png | webp
    mode: str  # Pillow's name for the pixels as stored: RGB, L, CMYK, I;16, RGBA, P …
    exif_orientation: int  # 1..8, 1 = upright as stored


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A photo that was shrunk or grown to fit a square, and how to get back from there."""

    square: Pixels  # (S, S, 3)
    scale: float  # px of the square per px of the photo
    left: int  # px of padding beside and above the photo
    top: int

    def to_photo(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy px of the square in px of the photo."""
        return (boxes - np.array([self.left, self.top] * 2, np.float32)) / np.float32(self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto:
    """A photo and the square that the model sees of it."""

    photo: Pixels  # (H, W, 3) RGB, upright
    fitted: Letterbox

    @property
    def tensor(self) -> Pixels:
        """(S, S, 3) uint8 RGB: what the model sees."""
        return self.fitted.square

    @property
    def width(self) -> int:
        """Px of the upright photo."""
        return int(self.photo.shape[1])

    @property
    def height(self) -> int:
        """Px of the upright photo."""
        return int(self.photo.shape[0])


def read_info(data: bytes, max_pixels: int = MAX_PIXELS) -> PhotoInfo:
    """Read the header of a photo, within the limits on size.

    Raises:
        PhotoTooLarge: more than MAX_BYTES bytes or `max_pixels` pixels.
        UnsupportedImage: not a JPEG, PNG or WebP, or one whose header is damaged.
    """
    if len(data) > MAX_BYTES:
        raise PhotoTooLarge(f"the photo has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as header:
            kind, (width, height), mode = FORMATS[str(header.format)], header.size, header.mode
            orientation = _orientation(header)
    except Image.DecompressionBombError as error:
        raise PhotoTooLarge(f"the photo has too many pixels; at most {max_pixels:,} are read") from error
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise UnsupportedImage(f"{len(data):,} bytes that are not a JPEG, PNG or WebP we can read") from error
    if width * height > max_pixels:
        raise PhotoTooLarge(f"the photo has {width}x{height} pixels; at most {max_pixels:,} are read")
    if orientation in SIDEWAYS:
        width, height = height, width
    return PhotoInfo(width, height, kind, mode, orientation)


def check_photo(data: bytes, max_pixels: int = MAX_PIXELS) -> PhotoInfo:
    """Decode a photo to its last byte and say what it is.

    A JPEG is decoded to greyscale at an eighth of its size, which reads the whole stream at a fifth of the
    cost. Damage within the stream that still decodes can't be seen.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `read_info`; also one that is truncated or damaged.
    """
    info = read_info(data, max_pixels)
    _decode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8 if info.format == "jpeg" else cv2.IMREAD_GRAYSCALE, info)
    return info


def decode_photo(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels of a JPEG, PNG or WebP: (H, W, 3) uint8 RGB, upright.

    Raises:
        PhotoTooLarge, UnsupportedImage: as `check_photo`.
    """
    info = read_info(data, max_pixels)
    pixels = _decode(data, cv2.IMREAD_COLOR_RGB, info)
    turn = TURN_UPRIGHT.get(info.exif_orientation)
    return turn(pixels) if turn else pixels


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """A JPEG file of pixels (H, W, 3) uint8 RGB or (H, W) uint8 grey."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def letterbox(photo: Pixels, size: int, antialias: bool = False) -> Letterbox:
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
    return Letterbox(square, scale, left, top)


def _decode(data: bytes, flags: int, info: PhotoInfo) -> Pixels:
    # From memory OpenCV refuses a stream that stops before its end marker; from a file it would warn and fill
    # up with grey, so photos are never read by path. It reads damaged EXIF in another way than Pillow, and
    # size and pixels must fit, so only one of them looks at the orientation.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise UnsupportedImage(f"the {info.format} is truncated or damaged: it can't be decoded to its end")
    return pixels


def _orientation(header: Image.Image) -> int:
    """The orientation in the EXIF block, not the one in XMP, as in training; 1 where it is damaged."""
    exif = Image.Exif()
    try:
        exif.load(header.info.get("exif", b""))
        value = exif.get(EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in range(1, 9) else 1

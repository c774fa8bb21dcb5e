"""What the bytes of a photo are, told from its header: nothing is decoded, and limits come before pixels.

JPEG, PNG and WebP are read. A small file that unpacks to gigabytes, or takes minutes to decode, is refused.
"""

import io
from dataclasses import dataclass

from PIL import Image

from stocktake.errors import PhotoTooLarge, UnsupportedImage
from stocktake.jpeg_scans import count_scans, has_short_header
from stocktake.png_chunks import find_fault

MAX_BYTES = 64 << 20
MAX_PIXELS = 80_000_000  # 240 MB once decoded, 320 by Pillow, which begins to warn a little later
MAX_EXIF = 1 << 16  # bytes; what says how a photo is turned comes first, and a JPEG's segment has no more
MAX_SCANS = 32  # of a JPEG, each a pass over all of its pixels; encoders write up to a dozen
FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}  # MPO: a JPEG with a second view
EXIF_ORIENTATION = 0x0112
JPEG_BEGINS, PNG_BEGINS = b"\xff\xd8", b"\x89PNG"
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """What the header of a photo says."""

    width: int  # px after EXIF rotation
    height: int
    format: str  # jpeg | png | webp
    mode: str  # Pillow's name for the pixels as stored: RGB, L, CMYK, I;16, RGBA, P …
    exif_orientation: int  # 1..8, 1 = upright as stored
    progressive: bool = False  # a JPEG in scans that refine each other
    scans: int = 1  # of a JPEG; where there are more, its decoder keeps all coefficients

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height in px before EXIF rotation."""
        sideways = self.exif_orientation in SIDEWAYS
        return (self.height, self.width) if sideways else (self.width, self.height)


def read_info(data: bytes | memoryview, max_pixels: int = MAX_PIXELS) -> PhotoInfo:
    """Read the header of a photo, within the limits on size.

    Raises:
        PhotoTooLarge: more than MAX_BYTES bytes or `max_pixels` pixels.
        UnsupportedImage: not a JPEG, PNG or WebP, or one whose header is damaged, or a JPEG of more than
            MAX_SCANS scans or with an endless header, or a PNG that ends too soon or has endless chunks.
    """
    if len(data) > MAX_BYTES:
        raise PhotoTooLarge(f"the photo has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    _check_markers(data)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as header:
            kind, (width, height), mode = FORMATS[str(header.format)], header.size, header.mode
            orientation, progressive = _orientation(header), kind == "jpeg" and "progressive" in header.info
    except Image.DecompressionBombError as error:
        raise PhotoTooLarge(f"the photo has too many pixels; at most {max_pixels:,} are read") from error
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise UnsupportedImage(f"{len(data):,} bytes that are not a JPEG, PNG or WebP we can read") from error
    if width * height > max_pixels:
        raise PhotoTooLarge(f"the photo has {width}x{height} pixels; at most {max_pixels:,} are read")
    scans = count_scans(data, MAX_SCANS + 1) if kind == "jpeg" else 1
    if scans > MAX_SCANS:
        raise UnsupportedImage(f"a jpeg of more than {MAX_SCANS} scans; save it anew")
    if orientation in SIDEWAYS:
        width, height = height, width
    return PhotoInfo(width, height, kind, mode, orientation, progressive, scans)


def _check_markers(data: bytes | memoryview) -> None:
    """Raise UnsupportedImage where to read the header, or to unpack the rest, would take too much."""
    if data[:2] == JPEG_BEGINS and not has_short_header(data):
        raise UnsupportedImage("a jpeg whose header has too many parts, or bytes between them; save it anew")
    if data[:4] == PNG_BEGINS and (fault := find_fault(data)):
        raise UnsupportedImage(f"a png that {fault}; send the whole file, or save it anew")


def _orientation(header: Image.Image) -> int:
    """The orientation in the EXIF block, not the one in XMP, as in training; 1 where it is damaged."""
    exif = Image.Exif()
    try:
        exif.load(header.info.get("exif", b"")[:MAX_EXIF])
        value = exif.get(EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in range(1, 9) else 1

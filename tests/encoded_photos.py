"""Photos in every encoding that is read, for tests of decoding."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image


def smooth_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth colourful picture, so that JPEG keeps it nearly as it is."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 9), None, 0, 255, cv2.NORM_MINMAX))


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_block(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def damaged_exif(tags: int) -> bytes:
    """An EXIF block whose tags all claim bytes that are not there; Pillow warns of each."""
    entries = b"".join(struct.pack("<HHII", tag, 2, 1 << 20, 8) for tag in range(tags))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4)


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever is in it."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    start = next(place for mark in (b"\xff\xc0", b"\xff\xc2") if (place := data.find(mark)) >= 0)
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def lossless_jpeg(width: int, height: int) -> bytes:
    """An RGB JPEG of the lossless process, which no decoder reduces: all its pixels are 128."""
    adobe = b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, 0)
    frame = b"\xff\xc3" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"R\x11\0G\x11\0B\x11\0"
    table = b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1] + [0] * 15) + b"\0"  # code 0: no difference
    scan = b"\xff\xda" + struct.pack(">HB", 12, 3) + b"R\0G\0B\0" + b"\1\0\0"
    return b"\xff\xd8" + adobe + frame + table + scan + bytes(-(-width * height * 3 // 8)) + b"\xff\xd9"


def encodings(picture: Image.Image) -> dict[str, bytes]:
    """One picture in every way, by name."""
    sixteen = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    turned = [picture.rotate(90 * k, expand=False) for k in (1, 2)]
    jpeg = {
        "jpeg": {},
        "jpeg-444": {"subsampling": 0, "quality": 95},
        "jpeg-progressive": {"progressive": True},
        "jpeg-restarts": {"restart_marker_rows": 1},
        "jpeg-turned": {"exif": exif_block(6)},
    }
    return {
        **{name: encode(picture, "JPEG", **options) for name, options in jpeg.items()},
        "jpeg-grey": encode(picture.convert("L"), "JPEG"),
        "jpeg-cmyk": encode(picture.convert("CMYK"), "JPEG"),
        "jpeg-lossless": lossless_jpeg(*picture.size),
        "mpo": encode(picture, "MPO", save_all=True, append_images=turned[:1]),
        "png": encode(picture, "PNG"),
        "png-16": encode(sixteen, "PNG"),
        "png-palette": encode(picture.convert("P"), "PNG"),
        "png-animated": encode(picture, "PNG", save_all=True, append_images=turned),
        "webp": encode(picture, "WEBP"),
        "webp-lossless": encode(picture.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": encode(picture, "WEBP", save_all=True, append_images=turned),
    }

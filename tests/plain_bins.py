"""Bins in ABID's layout for tests: photos of a few pixels, metadata like the real one's."""

import json
import zlib
from pathlib import Path

import cv2
import numpy as np


def photo_bytes(seed: str, size: tuple[int, int] = (24, 16)) -> bytes:
    """A small JPEG that no other seed gives; `size` is width, height."""
    pixels = np.random.default_rng(zlib.crc32(seed.encode())).integers(0, 256, (*size[::-1], 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def metadata(items: dict[str, int], expected: int | None = None) -> dict:
    """What ABID tells of a bin with so many of each article; EXPECTED_QUANTITY is their sum by default."""
    measure = {"unit": "IN", "value": 2.5}
    data = {
        asin: {
            "asin": asin,
            "name": f"Article {asin}",
            "normalizedName": f"Article {asin}",
            "quantity": quantity,
            "height": measure,
            "length": measure,
            "width": measure,
            "weight": {"unit": "pounds", "value": 1.2},
        }
        for asin, quantity in items.items()
    }
    return {
        "BIN_FCSKU_DATA": data,
        "EXPECTED_QUANTITY": sum(items.values()) if expected is None else expected,
    }


def write_bin(folder: Path, bin_id: str, items: dict[str, int] | bytes, photo: bytes | None = None) -> None:
    """Write a bin; `items` may be the bytes of the metadata file instead, and `photo` b'' for none."""
    for name in ("bin-images", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = items if isinstance(items, bytes) else json.dumps(metadata(items)).encode()
    (folder / f"metadata/{bin_id}.json").write_bytes(text)
    if photo != b"":
        (folder / f"bin-images/{bin_id}.jpg").write_bytes(photo or photo_bytes(bin_id))


def write_bins(folder: Path, count: int, first: int = 1, run: int = 2) -> Path:
    """Write bins of 1 to 5 items under padded ids; each `run` of them shows one bin."""
    for number in range(first, first + count):
        write_bin(folder, f"{number:05d}", {f"A{number // run}": number % 5 + 1})
    return folder

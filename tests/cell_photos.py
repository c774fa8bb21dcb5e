"""Photos of shelves as `tests.tiny_model` sees them, and an index of them."""

from pathlib import Path

import cv2
import numpy as np

from stocktake.dataset import DatasetIndex, Photo, TruthVoid
from stocktake.files import sha256_file

CELL, SIDE = 16, 128
LEFT_OUT = {"excluded": ["a.jpg"], "wrong_size": ["b.jpg", "c.jpg"]}  # by the ingest


BOARDS = (1, 3, 6)  # rows of cells with products


def draw(missing: set[tuple[int, int]], dim: set[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A shelf as `tests.tiny_model` sees one: white products on three boards, grey where it is less sure."""
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    boxes = []
    for row in BOARDS:
        for column in range(SIDE // CELL):
            x, y = column * CELL, row * CELL
            if (column, row) not in missing:
                photo[y : y + CELL, x : x + CELL] = 200 if (column, row) in dim else 255
                boxes.append((x, y, x + CELL, y + CELL))
    return photo, np.array(boxes, np.float32).reshape(-1, 4)


def add_photo(
    folder: Path,
    name: str,
    pixels: np.ndarray,
    boxes: np.ndarray,
    split: str,
    voids: tuple[TruthVoid, ...] | None,
) -> Photo:
    path = folder / name
    cv2.imwrite(str(path), pixels)
    height, width = pixels.shape[:2]
    return Photo(
        name, name, path.stat().st_size, sha256_file(path), width, height, split, name, boxes, None, voids
    )


def void_at(column: int, row: int) -> TruthVoid:
    x, y = column * CELL, row * CELL
    tier = len(BOARDS) - BOARDS.index(row)
    return TruthVoid((x, y, x + CELL, y + CELL), tier, 1, "gap")


def shelf_photos(folder: Path, split: str, count: int, known: bool = True) -> list[Photo]:
    photos = []
    for number in range(count):
        gaps = {(2 + number % 3, 3), (4, 6)} if number % 4 else set()
        pixels, boxes = draw(gaps, dim={(number % 8, 1)})
        voids = tuple(void_at(*gap) for gap in sorted(gaps)) if known else None
        photos.append(add_photo(folder, f"{split}_{number}.png", pixels, boxes, split, voids))
    return photos


def write_index(folder: Path, photos: list[Photo]) -> Path:
    path = folder / "index.parquet"
    DatasetIndex(photos, str(folder), {"name": "cells", "exclude": "strict", "left_out": LEFT_OUT}).write(
        path
    )
    return path

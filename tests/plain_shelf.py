"""Boxes of a shelf so plain that every answer can be worked out by hand."""

import numpy as np


def plain_shelf(
    tiers: int = 4,
    facings: int = 10,
    width: float = 50,
    height: float = 100,
    space: float = 0,
    pitch: float = 200,
    missing: tuple[tuple[int, int], ...] = (),
) -> np.ndarray:
    """(n, 4) float32 boxes, tier 1 (lowest) first, each tier from left to right.

    The first product of each tier starts at x 100; tier 1 stands at y = 1000, the next `pitch` px higher.
    `missing` lists (tier, position) of products to leave out, both counted from 1.
    """
    boxes = []
    for tier in range(1, tiers + 1):
        floor = 1000 - pitch * (tier - 1)
        for position in range(1, facings + 1):
            if (tier, position) not in missing:
                x = 100 + (position - 1) * (width + space)
                boxes.append([x, floor - height, x + width, floor])
    return np.array(boxes, np.float32)


def sheared(boxes: np.ndarray, slope: float) -> np.ndarray:
    """Boxes as a tilted camera sees them: what is further right is lower by `slope` px per px."""
    drop = slope * ((boxes[:, 0] + boxes[:, 2]) / 2)
    return (boxes + drop[:, None] * np.array([0, 1, 0, 1])).astype(np.float32)


def plain_photo(
    boxes: np.ndarray, width: int = 800, height: int = 1100, back: int = 40, seed: int = 0
) -> np.ndarray:
    """(height, width, 3) uint8: packs printed in blocks of colour, before a back of grey level `back`."""
    rng = np.random.default_rng(seed)
    photo = np.full((height, width, 3), back, np.uint8)
    for x1, y1, x2, y2 in np.clip(boxes, 0, [width, height, width, height]).astype(int):
        rows, columns = (y2 - y1 + 7) // 8, (x2 - x1 + 7) // 8
        print_ = rng.integers(60, 255, (rows, columns, 3), np.uint8)
        photo[y1:y2, x1:x2] = np.kron(print_, np.ones((8, 8, 1), np.uint8))[: y2 - y1, : x2 - x1]
    return photo

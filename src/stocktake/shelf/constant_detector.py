"""The detector that never looks: the same boxes on every photo, where products stand most often.

What a real detector scores above it is what it has learnt from pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stocktake.dataset import Photo
from stocktake.errors import DataError

COLUMNS, ROWS = 15, 20  # 300 cells, as many as detections count per photo


@dataclass(frozen=True, slots=True, eq=False)
class ConstantDetector:
    """`boxes` (n, 4) float32 xyxy in shares of a photo's width and height, `scores` (n,) float32 in 0..1."""

    boxes: np.ndarray
    scores: np.ndarray

    @classmethod
    def fit(cls, photos: Sequence[Photo]) -> ConstantDetector:
        """One box per cell of a 15 x 20 grid: the median of the boxes whose centre lies there.

        Its score is the share of photos with a product in that cell.

        Raises:
            DataError: no photo has a box.
        """
        if not any(len(photo.boxes) for photo in photos):
            raise DataError(
                f"none of {len(photos)} photos has a product box; the constant detector needs some"
            )
        boxes = np.concatenate([photo.boxes / _frame(photo.width, photo.height) for photo in photos])
        photo_of_box = np.repeat(np.arange(len(photos)), [len(photo.boxes) for photo in photos])
        centres = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, 0, 1 - 1e-6)
        cell = (centres[:, 1] * ROWS).astype(int) * COLUMNS + (centres[:, 0] * COLUMNS).astype(int)
        in_cell = [np.flatnonzero(cell == number) for number in np.unique(cell)]
        medians = np.stack([np.median(boxes[rows], axis=0) for rows in in_cell])
        shares = np.array([len(np.unique(photo_of_box[rows])) / len(photos) for rows in in_cell])
        return cls(medians.astype(np.float32), shares.astype(np.float32))

    def detect(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4) float32 xyxy px and scores (n,) of a photo of width x height px."""
        return self.boxes * _frame(width, height), self.scores


def _frame(width: int, height: int) -> np.ndarray:
    return np.array([width, height, width, height], np.float32)

"""Arithmetic on axis-aligned boxes.

A set of boxes is an array (n, 4) float32, rows ``x1, y1, x2, y2`` in pixels, origin top left, x2 and y2
exclusive, so that width is ``x2 - x1``. Functions that take boxes accept any real array of that shape.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stocktake.errors import DataError

FloatArray = NDArray[np.float32]


def as_boxes(boxes: ArrayLike, name: str = "boxes") -> FloatArray:
    """Check that `boxes` is a set of boxes and return it as (n, 4) float32.

    An empty list or array of any shape is the empty set. Raises DataError, which calls the argument `name`,
    on any other shape and on values that are not real numbers. NaN and infinity pass: see `usable`.
    """
    try:
        array = np.asarray(boxes)
    except ValueError as error:
        raise DataError(f"{name}: rows of different lengths; give an array of shape (n, 4)") from error
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name}: found values of type {array.dtype}; give real numbers of pixels")
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(f"{name}: found shape {array.shape}; give (n, 4), rows x1, y1, x2, y2")
    return array.astype(np.float32, copy=False)


def as_scores(scores: ArrayLike, count: int, name: str = "scores") -> FloatArray:
    """Return `scores` as (count,) float32. Raises DataError if they are not `count` real numbers."""
    array = np.asarray(scores)
    if array.size and array.dtype.kind not in "fiu":
        raise DataError(f"{name}: found values of type {array.dtype}; give real numbers")
    if array.size != count or (array.size and array.ndim != 1):
        raise DataError(f"{name}: found shape {array.shape}; give one score for each of the {count} boxes")
    return array.reshape(-1).astype(np.float32, copy=False)


def usable(boxes: FloatArray) -> NDArray[np.bool_]:
    """(n,) bool: True where a box is finite and wider and higher than nothing."""
    finite = np.isfinite(boxes).all(axis=1)
    return finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def box_area(boxes: FloatArray) -> FloatArray:
    """(n,) areas in px². A box turned inside out has area 0."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def clip_boxes(boxes: FloatArray, width: float, height: float) -> FloatArray:
    """Boxes (n, 4) cut to a photo of `width` x `height` px; one that lies outside gets area 0."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)


def intersection_matrix(a: FloatArray, b: FloatArray) -> FloatArray:
    """(len(a), len(b)) areas in px² that each box of `a` shares with each box of `b`."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(width, 0) * np.maximum(height, 0)


def iou_matrix(a: FloatArray, b: FloatArray) -> FloatArray:
    """(len(a), len(b)) intersection over union, 0..1; 0 where both boxes are empty."""
    shared = intersection_matrix(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def intersection_over_min(a: FloatArray, b: FloatArray) -> FloatArray:
    """(len(a), len(b)) intersection over the smaller area, 0..1: 1 where one lies in the other."""
    shared = intersection_matrix(a, b)
    smaller = np.minimum(box_area(a)[:, None], box_area(b)[None, :])
    return np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)


def nms(
    boxes: FloatArray, scores: FloatArray, iou_threshold: float, max_detections: int | None = None
) -> NDArray[np.int64]:
    """Indices of the boxes that stay after greedy non-maximum suppression, best score first.

    A box goes if its IoU with a better one that stays is over `iou_threshold` (0..1). At most
    `max_detections` stay. `scores` are (n,) in 0..1; boxes with score 0 or that are not `usable` never stay.
    """
    candidates = np.flatnonzero(usable(boxes) & np.isfinite(scores))
    if not len(candidates):
        return np.zeros(0, np.int64)
    xywh = boxes[candidates].astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    kept = cv2.dnn.NMSBoxes(xywh.tolist(), scores[candidates].tolist(), 0.0, iou_threshold)
    return candidates[np.asarray(kept, np.int64).reshape(-1)[:max_detections]]


def suppress_overlaps(boxes: FloatArray, scores: FloatArray, threshold: float) -> NDArray[np.int64]:
    """Like `nms`, with intersection over the smaller area as the measure: a box within a better one goes."""
    overlap = intersection_over_min(boxes, boxes) > threshold
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if not overlap[index, kept].any():
            kept.append(int(index))
    return np.array(kept, np.int64)


def union_box(boxes: FloatArray | Sequence[Sequence[float]]) -> FloatArray:
    """(4,) smallest box around one box or more."""
    array = np.asarray(boxes, np.float32)
    return np.concatenate([array[:, :2].min(axis=0), array[:, 2:].max(axis=0)])

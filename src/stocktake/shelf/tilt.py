"""A shelf photographed at an angle: the photo turned about its middle, and what is known about it with it."""

from __future__ import annotations

import cv2
import numpy as np

from stocktake.boxes import FloatArray, as_boxes, box_area, clip_boxes
from stocktake.shelf.holdout import tilt_boxes
from stocktake.shelf.void_scoring import VoidSet

VISIBLE = 0.5  # a box counts while this share of it is in the frame


def tilt_photo(photo: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a photo (H, W, 3) clockwise in a frame of the same size, enlarged so that no corner is empty."""
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, _zoom(width, height, degrees))
    return cv2.warpAffine(
        photo, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def tilt_visible(boxes: FloatArray, width: int, height: int, degrees: float) -> tuple[FloatArray, np.ndarray]:
    """Where boxes (n, 4) of a photo of width x height px lie after `tilt_photo`.

    Returns:
        (k, 4) boxes clipped to the frame, and (n,) bool: half of the box or more is still in it.
    """
    middle = np.array([width, height, width, height]) / 2
    zoom = _zoom(width, height, degrees)
    turned = as_boxes((tilt_boxes(boxes, width, height, degrees) - middle) * zoom + middle)
    clipped = clip_boxes(turned, width, height)
    visible = box_area(clipped) >= VISIBLE * np.maximum(box_area(turned), 1e-6)
    return clipped[visible], visible


def tilt_voids(voids: VoidSet, width: int, height: int, degrees: float) -> VoidSet:
    """The known voids that are still in the frame after `tilt_photo`."""
    boxes, visible = tilt_visible(voids.boxes, width, height, degrees)
    kept = voids.pick(visible)
    return VoidSet(boxes, kept.facings, kept.confidence, kept.ignored)


def _zoom(width: int, height: int, degrees: float) -> float:
    """Scale at which the turned photo still covers the whole frame."""
    angle = abs(np.deg2rad(degrees))
    return float(np.cos(angle) + max(width, height) / min(width, height) * np.sin(angle))

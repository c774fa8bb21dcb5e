"""A shelf photographed at an angle: the photo turned about its middle, and what is known about it with it."""

from __future__ import annotations

import cv2
import numpy as np

from stocktake.boxes import FloatArray, as_boxes, box_area, clip_boxes
from stocktake.shelf.holdout import tilt_boxes
from stocktake.shelf.void_scoring import VoidSet

LABELLED = 0.35  # share of a product that must be in the frame for its box to be given
COUNTED = 0.5  # share of a void that must be in the frame for it to be asked for


def tilt_photo(photo: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a photo (H, W, 3) clockwise in a frame of the same size, enlarged so that no corner is empty."""
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, _zoom(width, height, degrees))
    return cv2.warpAffine(
        photo, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def tilt_products(boxes: FloatArray, width: int, height: int, degrees: float) -> FloatArray:
    """(k, 4) boxes of the products that are still in the frame after `tilt_photo`, cut to it."""
    turned, share = _turn(boxes, width, height, degrees)
    return turned[share >= LABELLED]


def tilt_voids(voids: VoidSet, boxes: FloatArray, width: int, height: int, degrees: float) -> VoidSet:
    """The known voids after `tilt_photo`, cut to the frame.

    Voids mostly outside it, and places of products whose boxes are not given any more, count neither way.
    """
    turned, share = _turn(voids.boxes, width, height, degrees)
    seen = VoidSet(turned, voids.facings, voids.confidence, voids.ignored | (share < COUNTED)).pick(share > 0)
    products, share = _turn(boxes, width, height, degrees)
    cut = VoidSet.of_boxes(products[(share > 0) & (share < LABELLED)])
    return VoidSet(
        np.concatenate([seen.boxes, cut.boxes]),
        np.concatenate([seen.facings, cut.facings]),
        np.concatenate([seen.confidence, cut.confidence]),
        np.concatenate([seen.ignored, np.ones(len(cut), np.bool_)]),
    )


def _turn(boxes: FloatArray, width: int, height: int, degrees: float) -> tuple[FloatArray, FloatArray]:
    """Boxes (n, 4) turned and cut to the frame, and the share of each that is left, (n,) in 0..1."""
    middle = np.array([width, height, width, height]) / 2
    zoom = _zoom(width, height, degrees)
    whole = as_boxes((tilt_boxes(boxes, width, height, degrees) - middle) * zoom + middle)
    cut = clip_boxes(whole, width, height)
    return cut, np.asarray(box_area(cut) / np.maximum(box_area(whole), 1e-6), np.float32)


def _zoom(width: int, height: int, degrees: float) -> float:
    """Scale at which the turned photo still covers the whole frame."""
    angle = abs(np.deg2rad(degrees))
    return float(np.cos(angle) + max(width, height) / min(width, height) * np.sin(angle))

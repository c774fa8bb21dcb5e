"""What people said about voids, as examples for the confidence: features of gaps, and which are voids."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stocktake.boxes import FloatArray
from stocktake.errors import StoreError, UnsupportedImage
from stocktake.feedback import LabelledPhoto
from stocktake.shelf.confidence import PHOTO_WEIGHTS
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.examination import Sight
from stocktake.shelf.level import Numbers
from stocktake.shelf.photo_voids import describe_photo
from stocktake.shelf.void_scoring import VoidSet, match_voids
from stocktake.storage import open_store
from stocktake.void_kinds import LOW_STOCK

NAMES = tuple(PHOTO_WEIGHTS)  # the order of features
SAME_IOU = 0.3  # of a judged void and a gap that the model finds now


@dataclass(frozen=True, slots=True)
class VoidLabels:
    """n judged gaps: `features` (n, k) in the order of NAMES, `is_void` (n,) bool, `group` (n,) of the bay.

    `left_out`: how many judged voids are not among them, by reason.
    """

    features: Numbers
    is_void: np.ndarray
    group: np.ndarray
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.is_void)


def collect_labels(detector: ShelfDetector, photos: Sequence[LabelledPhoto]) -> VoidLabels:
    """Look at the judged voids of photos as `detector` sees them now.

    A label whose photo is gone, or where this model finds no gap, can teach nothing and is counted.
    """
    left_out: Counter[str] = Counter()
    features: list[Numbers] = [np.zeros((0, len(NAMES)))]
    is_void: list[bool] = []
    group: list[str] = []
    for photo in photos:
        boxes, truth = _judged(photo, left_out)
        if photo.task != "shelves" or not len(boxes):
            continue
        try:
            decoded = detector.decode(_read(photo))
        except StoreError:
            left_out["photo cannot be read"] += len(boxes)
            continue
        except UnsupportedImage:
            left_out["photo cannot be decoded"] += len(boxes)
            continue
        sight = Sight.of(detector, decoded)
        gaps, found = describe_photo(*sight.support(), decoded.photo, detector.void_settings)
        match = match_voids(VoidSet.of_boxes(boxes), VoidSet.of_boxes(gaps), SAME_IOU)
        left_out["no such gap for this model"] += int((match < 0).sum())
        features.append(np.stack([found[name] for name in NAMES], axis=1)[match[match >= 0]])
        is_void += truth[match >= 0].tolist()
        group += [photo.group] * int((match >= 0).sum())
    return VoidLabels(np.concatenate(features), np.array(is_void, np.bool_), np.array(group), +left_out)


def _judged(photo: LabelledPhoto, left_out: Counter[str]) -> tuple[FloatArray, np.ndarray]:
    """Boxes (m, 4) that a person has judged, and whether they are voids."""
    judged = [void for void in photo.voids if void.verdict is not None]
    left_out["low stock, which is no alarm"] += sum(void.kind == LOW_STOCK for void in judged)
    judged = [void for void in judged if void.kind != LOW_STOCK]
    boxes = [void.box for void in judged] + list(photo.missed)
    truth = [void.verdict == "void" for void in judged] + [True] * len(photo.missed)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(truth, np.bool_)


def _read(photo: LabelledPhoto) -> bytes:
    folder, _, key = photo.uri.rpartition("/")
    data = open_store(folder or "/").get(key)
    if hashlib.sha256(data).hexdigest() != photo.sha256:
        raise StoreError(f"{photo.uri}: not the photo that was judged")
    return data

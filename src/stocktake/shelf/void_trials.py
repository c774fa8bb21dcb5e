"""What void finders are put through on one photo, each next to the sliding-box heuristic on the same boxes.

A scene says where the boxes come from and what was done to them. Scenes with truth need a photo whose voids
are known (a drawn one); the others make their own truth from the annotations and work on any photo.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from stocktake.boxes import FloatArray
from stocktake.dataset import Photo
from stocktake.shelf.holdout import false_alarms, hold_out
from stocktake.shelf.sliding_box import find_voids_by_sliding
from stocktake.shelf.tilt import tilt_photo, tilt_products, tilt_voids
from stocktake.shelf.void_scoring import VoidSet
from stocktake.shelf.voids import VoidSettings, find_voids

MISSING_SHARE = 0.1
TILTS = (-15.0, 15.0)  # degrees

OURS, SLIDING = "stocktake", "sliding_box"
PIXELS, TRUE_BOXES, HOLD_OUT = "voids", "voids_true_boxes", "voids_holdout"
TILTED, TILTED_TRUE_BOXES, TILTED_HOLD_OUT = "voids_tilt", "voids_tilt_true_boxes", "voids_tilt_holdout"
MISSING = "voids_missing"
ANY_CONFIDENCE = "any_confidence"  # as PIXELS, whatever the confidence: for curves, not for scores
SCENES = {
    PIXELS: "From pixels",
    TRUE_BOXES: "True boxes",
    HOLD_OUT: "Hold-out",
    TILTED: "Tilted, from pixels",
    TILTED_TRUE_BOXES: "Tilted, true boxes",
    TILTED_HOLD_OUT: "Tilted, hold-out",
    MISSING: "10% of boxes missing",
}

# (boxes, scores, photo or None, (width, height)) -> voids
VoidFinder = Callable[[FloatArray, np.ndarray, np.ndarray | None, tuple[int, int]], VoidSet]
# pixels -> voids by method, all from boxes of the same detector
Watch = Callable[[np.ndarray], Mapping[str, VoidSet]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a method found in a scene of one photo, and what was there."""

    scene: str
    method: str
    found: VoidSet
    truth: VoidSet


def void_finders(settings: VoidSettings) -> dict[str, VoidFinder]:
    """Our method with the settings of a model, and the sliding-box heuristic."""
    return {
        OURS: lambda boxes, scores, photo, _size: VoidSet.of(find_voids(boxes, scores, photo, settings)),
        SLIDING: lambda boxes, scores, photo, size: VoidSet.of(
            find_voids_by_sliding(boxes, scores, photo, size)
        ),
    }


def void_truth(photo: Photo) -> VoidSet | None:
    """The known voids of a photo; None where they are not known."""
    return None if photo.voids is None else VoidSet.of(photo.voids)


def try_annotated(
    photo: Photo, pixels: np.ndarray, finders: Mapping[str, VoidFinder], seed: int
) -> list[Trial]:
    """The scenes that rest on the annotated boxes of `photo`, whose decoded pixels are (H, W, 3) uint8."""
    size, truth = (photo.width, photo.height), void_truth(photo)
    trials = []
    for name, finder in finders.items():
        find = partial(_find, finder, size, pixels)
        find_unseen = partial(_find, finder, size, None)
        if truth is not None:
            trials.append(Trial(TRUE_BOXES, name, find(photo.boxes), truth))
        trials.append(Trial(HOLD_OUT, name, *hold_out(photo.boxes, find_unseen, _rng(photo, seed))))
        alarms = false_alarms(photo.boxes, find, MISSING_SHARE, _rng(photo, seed))
        trials.append(Trial(MISSING, name, alarms, truth or VoidSet.of_boxes([])))
    return trials


def try_tilted(
    photo: Photo, pixels: np.ndarray, watch: Watch, finders: Mapping[str, VoidFinder], seed: int
) -> list[Trial]:
    """The same from 15 degrees to either side: detected boxes, true boxes, hold-out."""
    size, truth = (photo.width, photo.height), void_truth(photo)
    trials = []
    for degrees in TILTS:
        boxes = tilt_products(photo.boxes, *size, degrees)
        for name, finder in finders.items():
            find_unseen = partial(_find, finder, size, None)
            trials.append(Trial(TILTED_HOLD_OUT, name, *hold_out(boxes, find_unseen, _rng(photo, seed))))
        if truth is None:
            continue
        turned, known = tilt_photo(pixels, degrees), tilt_voids(truth, photo.boxes, *size, degrees)
        for name, finder in finders.items():
            trials.append(Trial(TILTED_TRUE_BOXES, name, _find(finder, size, turned, boxes), known))
        trials += [Trial(TILTED, name, found, known) for name, found in watch(turned).items()]
    return trials


def _find(finder: VoidFinder, size: tuple[int, int], pixels: np.ndarray | None, boxes: FloatArray) -> VoidSet:
    return finder(boxes, np.ones(len(boxes), np.float32), pixels, size)


def _rng(photo: Photo, seed: int) -> np.random.Generator:
    """The same for every method and in every order of photos."""
    return np.random.default_rng([seed, zlib.crc32(photo.name.encode())])

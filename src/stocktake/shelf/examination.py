"""One pass over photos: each is shown to every detector as it is served, and put through every scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from stocktake.boxes import FloatArray
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.images import DecodedPhoto, Pixels, ReducedPhoto
from stocktake.photo_pass import decode_known, whole_pixels
from stocktake.runner import Precision
from stocktake.shelf.constant_detector import ConstantDetector
from stocktake.shelf.detector import Proposals, ShelfDetector
from stocktake.shelf.photo_voids import analyse_photo
from stocktake.shelf.sliding_box import find_voids_by_sliding
from stocktake.shelf.void_scoring import VoidSet
from stocktake.shelf.void_trials import (
    ANY_CONFIDENCE,
    OURS,
    PIXELS,
    SLIDING,
    Trial,
    try_annotated,
    try_tilted,
    void_finders,
    void_truth,
)

CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a detector sees in one photo; the model has run once, thresholds are applied on demand."""

    detector: ShelfDetector
    decoded: DecodedPhoto
    proposals: Proposals

    @classmethod
    def of(cls, detector: ShelfDetector, decoded: DecodedPhoto) -> Sight:
        """Run the detector on a photo that it has decoded, beside those of other photos."""
        return cls(detector, decoded, detector.infer(decoded.tensor[None], alone=False)[0])

    def candidates(self) -> tuple[FloatArray, FloatArray]:
        """Boxes (n, 4) xyxy px and scores (n,) for average precision: down to a low score, 300 at most."""
        return self.detector.candidates(self.decoded, self.proposals)

    def support(self, threshold: float | None = None) -> tuple[FloatArray, FloatArray]:
        """The boxes that have a say in where voids are: from the card's threshold up, or from another."""
        card = self.detector.card
        lowest = card.void_score_threshold if threshold is None else threshold
        return self.detector.candidates(self.decoded, self.proposals, lowest, card.max_detections)

    def voids(self) -> VoidSet:
        """The voids that are served."""
        return VoidSet.of(self.detector.interpret(self.proposals, self.decoded).voids)

    def voids_at_any_confidence(self, threshold: float | None = None) -> VoidSet:
        """The voids that are served and those that are not sure enough, from the boxes of `support`."""
        settings = self.detector.void_settings.model_copy(update={"min_confidence": 0.0})
        return VoidSet.of(analyse_photo(*self.support(threshold), self.decoded.photo, settings).voids)

    def voids_by_sliding(self, pixels: Pixels) -> VoidSet:
        """What the sliding-box heuristic makes of the same boxes, on the whole photo (H, W, 3)."""
        return VoidSet.of(find_voids_by_sliding(*self.support(), pixels))


@dataclass(frozen=True, slots=True)
class Examined:
    """What came out for one photo: boxes (n, 4) xyxy px and scores (n,) by detector, and void trials."""

    photo: Photo
    found: dict[str, tuple[FloatArray, FloatArray]]
    trials: list[Trial]


@dataclass(frozen=True, slots=True)
class Examiner:
    """Detectors by name, the one under evaluation as OURS, and the constant boxes they are compared with.

    `precise` has the one under evaluation in other precisions, by their names.
    """

    index: DatasetIndex
    detectors: Mapping[str, ShelfDetector]
    precise: Mapping[Precision, ShelfDetector]
    constant: ConstantDetector
    seed: int

    def examine(self, photo: Photo, tilted: bool) -> Examined:
        """Examine one photo, from both sides too if `tilted`.

        Raises:
            DataError: its pixels can't be read or are not those of the index.
        """
        data = read_photo_bytes(self.index, photo)
        sights = {
            who: Sight.of(detector, decode_known(photo, data, detector.decode))
            for who, detector in (*self.detectors.items(), *self.precise.items())
        }
        pixels = whole_pixels(photo, data)
        found = {who: sight.candidates() for who, sight in sights.items()}
        found[CONSTANT] = self.constant.detect(photo.width, photo.height)
        finders = void_finders(self.detectors[OURS].void_settings)
        trials = try_annotated(photo, pixels, finders, self.seed)
        truth = void_truth(photo)
        if truth is not None:
            trials += [Trial(PIXELS, who, sights[who].voids(), truth) for who in self.detectors]
            trials.append(Trial(PIXELS, SLIDING, sights[OURS].voids_by_sliding(pixels), truth))
            trials += [
                Trial(ANY_CONFIDENCE, who, sights[who].voids_at_any_confidence(), truth)
                for who in (OURS, *self.precise)
            ]
        if tilted:
            watch = partial(_watch, self.detectors[OURS])
            trials += try_tilted(photo, pixels, watch, finders, self.seed)
        return Examined(photo, found, trials)


def _watch(detector: ShelfDetector, pixels: np.ndarray) -> dict[str, VoidSet]:
    sight = Sight.of(detector, detector.see(ReducedPhoto.of(pixels, detector.least_side)))
    return {OURS: sight.voids(), SLIDING: sight.voids_by_sliding(pixels)}

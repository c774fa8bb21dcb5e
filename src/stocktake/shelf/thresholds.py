"""Thresholds and precisions, chosen on validation photos and written to the card; never on test photos."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stocktake.boxes import FloatArray
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.drift.measures import Measures, measure_shelf
from stocktake.drift.reference import set_reference
from stocktake.errors import DataError
from stocktake.model_card import ModelCard, write_sums
from stocktake.photo_pass import decode_known, each_photo, pass_workers
from stocktake.precision_gate import REFERENCE
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.examination import Sight
from stocktake.shelf.precisions import set_precisions
from stocktake.shelf.void_scoring import VoidSet, void_curve

SUPPORT_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
LEAST_VOIDS = 20  # known voids below which their F1 is mostly chance

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a model reports from which score up, and what that gave on the photos it was chosen on.

    `score_threshold`: products. `void_score_threshold`: boxes that have a say in where voids are.
    `min_confidence`: voids. `void_f1` at IoU .3 is None where too few voids were known: then the last two are
    the card's own.
    """

    score_threshold: float
    void_score_threshold: float
    min_confidence: float
    product_f1: float
    void_f1: float | None
    photos: int
    known_voids: int


def set_thresholds(model_dir: Path, index_path: Path, split: str = "val") -> str:
    """Choose thresholds and precisions on one split of an index.parquet and write them to the model dir.

    With them goes what the photos of the split, and the answers to them, look like: later ones are compared.

    Returns:
        The new digest of the model dir.

    Raises:
        DataError, ModelError: as `choose_thresholds` and `write_thresholds` do.
    """
    index = DatasetIndex.read(index_path)
    write_thresholds(model_dir, choose_thresholds(model_dir, index, split))
    set_precisions(model_dir, index_path, split)
    detector = ShelfDetector.load(model_dir, lanes=pass_workers())

    def answer(data: bytes) -> Measures:
        report = detector.detect(data)
        return measure_shelf(report.to_json(), report.scores)

    return set_reference(model_dir, index, index.split(split), answer)


def choose_thresholds(
    model_dir: Path,
    index: DatasetIndex,
    split: str = "val",
    workers: int | None = None,
    progress: bool = True,
) -> Thresholds:
    """Choose what gives the best F1: of products at IoU .5, of voids from pixels at IoU .3.

    Raises:
        DataError: the split is empty, has no product, or a photo is not what the index says.
        ModelError: the model dir is damaged or not a shelf detector's.
    """
    photos = index.split(split)
    if not photos:
        raise DataError(f"no photo in split {split}; thresholds are chosen on the validation split")
    detector = ShelfDetector.load(model_dir, precision="fp32", lanes=pass_workers(workers))

    def see(photo: Photo) -> tuple[tuple[FloatArray, FloatArray], list[VoidSet]]:
        data = read_photo_bytes(index, photo)
        sight = Sight.of(detector, decode_known(photo, data, detector.decode))
        tried = SUPPORT_THRESHOLDS if photo.voids is not None else ()
        return sight.candidates(), [sight.voids_at_any_confidence(threshold) for threshold in tried]

    seen = each_photo(see, photos, workers, progress, "choose thresholds")
    products = score_detections([photo.boxes for photo in photos], [found for found, _ in seen])
    score_threshold, product_f1 = products.best_threshold()
    truth = [VoidSet.of(photo.voids) for photo in photos if photo.voids is not None]
    known = sum(int((~voids.ignored).sum()) for voids in truth)
    support, confidence, void_f1 = (
        detector.card.void_score_threshold,
        detector.void_settings.min_confidence,
        None,
    )
    if known >= LEAST_VOIDS:
        tried = list(zip(*(voids for _, voids in seen if voids), strict=True))
        support, confidence, void_f1 = _best_voids(tried, truth, (support, confidence))
    else:
        _log.warning(
            "%d voids are known in split %s, fewer than %d: the thresholds of voids stay as they are",
            known,
            split,
            LEAST_VOIDS,
        )
    return Thresholds(score_threshold, support, confidence, product_f1, void_f1, len(photos), known)


def write_thresholds(model_dir: Path, thresholds: Thresholds) -> str:
    """Write thresholds to a model dir's card and renew its checksums. Returns the model's new digest.

    What precisions scored holds for the old ones alone, so fp32 is all that may be served with the new ones.

    Raises:
        ModelError: the model dir has no card.
    """
    card = ModelCard.read(model_dir)
    settings = {**card.void_settings, "min_confidence": thresholds.min_confidence}
    changes = {
        "score_threshold": thresholds.score_threshold,
        "void_score_threshold": thresholds.void_score_threshold,
        "void_settings": settings,
        "precisions": [REFERENCE],
        "precision_gate": {},
    }
    ModelCard.model_validate(card.model_dump() | changes).write(model_dir)
    return write_sums(model_dir)


def _best_voids(
    tried: list[tuple[VoidSet, ...]], truth: list[VoidSet], present: tuple[float, float]
) -> tuple[float, float, float]:
    """Score threshold of boxes, confidence of voids, and their F1; the `present` two if nothing is found."""
    best = (*present, 0.0)
    for threshold, found in zip(SUPPORT_THRESHOLDS, tried, strict=True):
        curve = void_curve(found, truth)
        if len(curve.f1) and curve.f1.max() > best[2]:
            place = int(np.argmax(curve.f1))
            # rounded down, so that the last void stays in
            confidence = float(np.floor(curve.confidence[place] * 1000) / 1000)
            best = (threshold, confidence, float(curve.f1[place]))
    return best

"""Thresholds of verification, and precisions, chosen on val photos and written to the card."""

import logging
from pathlib import Path

import numpy as np

from stocktake.bins.counter import BinCounter
from stocktake.bins.evaluation_scores import OURS, truth_of
from stocktake.bins.precisions import infer_all, set_precisions
from stocktake.bins.verification import ERROR_RATE, VerificationSettings, choose_settings
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.drift.measures import Measures, measure_bin
from stocktake.drift.reference import set_reference
from stocktake.evaluation_files import photos_to_score
from stocktake.model_card import ModelCard, write_sums
from stocktake.photo_pass import each_photo, pass_workers

_log = logging.getLogger(__name__)


def set_thresholds(
    model_dir: Path, index_path: Path, split: str = "val", error_rate: float = ERROR_RATE
) -> str:
    """Choose thresholds and precisions on one split of an index.parquet and write them to the model dir.

    With them goes what the photos of the split, and the answers to them, look like: later ones are compared.

    Returns:
        The new digest of the model dir.

    Raises:
        DataError, ModelError: as `choose_thresholds` does.
    """
    chosen = choose_thresholds(model_dir, index_path, split, error_rate)
    card = ModelCard.read(model_dir)
    card.model_copy(update={"verification": chosen.model_dump()}).write(model_dir)
    write_sums(model_dir)
    set_precisions(model_dir, index_path, split)
    counter, index = BinCounter.load(model_dir, lanes=pass_workers()), DatasetIndex.read(index_path)

    def answer(data: bytes) -> Measures:
        return measure_bin(counter.count(data).to_json())

    return set_reference(model_dir, index, index.split(split), answer)


def choose_thresholds(
    model_dir: Path,
    index_path: Path,
    split: str = "val",
    error_rate: float = ERROR_RATE,
    workers: int | None = None,
    progress: bool = True,
) -> VerificationSettings:
    """Choose from which support to accept a record, and below which to reject it, see `choose_settings`.

    Raises:
        DataError: the split is empty, a photo is not what the index says, or its quantity is no class.
        ModelError: the model dir is damaged or not a bin counter's.
    """
    index = DatasetIndex.read(index_path)
    counter = BinCounter.load(model_dir, precision="fp32", lanes=pass_workers(workers))
    photos = photos_to_score(index, split, index_path)
    truth = truth_of(photos, counter.classes, index_path)

    def look(photo: Photo) -> np.ndarray:
        return infer_all({OURS: counter}, photo, read_photo_bytes(index, photo))[OURS]

    probabilities = np.stack(each_photo(look, photos, workers, progress, "choose thresholds"))
    groups = len(np.unique(truth.group_of))
    chosen = choose_settings(probabilities, truth.index, truth.classes, groups, error_rate)
    if chosen == VerificationSettings(error_rate=error_rate):
        _log.warning(
            "split %s has %d groups of photos, too few to promise at most %g wrong accepts: until there are "
            "more, a person is asked about every record",
            split,
            groups,
            error_rate,
        )
    return chosen

"""The precisions of a bin counter, scored on the same photos: how often the count is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from stocktake.bins.counter import BinCounter
from stocktake.bins.evaluation_scores import truth_of
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.photo_pass import decode_known, pass_workers
from stocktake.precision_gate import LARGEST_LOSS, forbid, score_precisions, write_verdicts
from stocktake.quantisation import spread
from stocktake.runner import Precision

LEAST_PHOTOS = round(1 / LARGEST_LOSS)  # with fewer a single one weighs more than what may be lost
MOST_PHOTOS = 1000

Who = TypeVar("Who", bound=str)


def set_precisions(
    model_dir: Path, index_path: Path, split: str = "val", workers: int | None = None, progress: bool = True
) -> str:
    """Score a model dir in every precision that this machine has, and write to its card what may be served.

    On at most `MOST_PHOTOS` photos of the split; with too few nothing but fp32 may be served.

    Returns:
        The new digest of the model dir.

    Raises:
        DataError: a photo is not what the index says, or its quantity is no class.
        ModelError: the model dir is damaged or not a bin counter's.
    """
    index = DatasetIndex.read(index_path)
    photos = spread(index.split(split), MOST_PHOTOS)
    if len(photos) < LEAST_PHOTOS:
        lack = f"{len(photos)} photos in split {split}, it takes {LEAST_PHOTOS}"
        return write_verdicts(model_dir, forbid(lack))
    base = BinCounter.load(model_dir, precision="fp32", lanes=pass_workers(workers))
    truth = truth_of(photos, base.classes, index_path)

    def look(photo: Photo, counters: Mapping[Precision, BinCounter]) -> dict[Precision, np.ndarray]:
        return infer_all(counters, photo, read_photo_bytes(index, photo))

    def figures(seen: Sequence[np.ndarray]) -> dict[str, float]:
        return figures_of(np.stack(seen), truth.index)

    return score_precisions(base, photos, look, figures, workers, progress)


def infer_all(counters: Mapping[Who, BinCounter], photo: Photo, data: bytes) -> dict[Who, np.ndarray]:
    """The probabilities (K,) that each counter gives for one photo, decoded as it is served, beside others.

    Raises:
        DataError: it can't be decoded, or has another size than the index says.
    """
    sizes = {counter.card.input_size: counter for counter in counters.values()}
    decoded = {size: decode_known(photo, data, counter.decode) for size, counter in sizes.items()}
    return {
        who: counter.infer(decoded[counter.card.input_size].tensor[None], alone=False)[0]
        for who, counter in counters.items()
    }


def figures_of(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What is compared between precisions: how often the most probable of (n, K) is the true one, (n,)."""
    return {"accuracy": float((probabilities.argmax(axis=1) == truth).mean())}

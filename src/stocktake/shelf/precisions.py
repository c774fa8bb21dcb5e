"""The precisions of a shelf detector, scored on the same photos: AP50 of products, F1 of voids at IoU .3.

The F1 is that at the best confidence of each precision: the card's was chosen for fp32 on these very photos,
which alone would make the others look worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stocktake.boxes import FloatArray
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.photo_pass import decode_known, pass_workers
from stocktake.precision_gate import LARGEST_LOSS, forbid, score_precisions, write_verdicts
from stocktake.quantisation import spread
from stocktake.runner import Precision
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.examination import Sight
from stocktake.shelf.void_scoring import VoidSet, void_curve
from stocktake.shelf.void_trials import void_truth

LEAST_PRODUCTS = 1000
LEAST_VOIDS = round(1 / LARGEST_LOSS)  # with fewer a single one weighs more than what may be lost
MOST_PHOTOS = 200

Found = tuple[FloatArray, FloatArray]


def set_precisions(
    model_dir: Path,
    index_path: Path,
    split: str = "val",
    workers: int | None = None,
    progress: bool = True,
) -> str:
    """Score a model dir in every precision that this machine has, and write to its card what may be served.

    On at most `MOST_PHOTOS` photos of the split. With too few products or known voids nothing but fp32 may be
    served; where voids are not known at all, as in SKU-110K, products alone decide.

    Returns:
        The new digest of the model dir.

    Raises:
        DataError: a photo is not what the index says.
        ModelError: the model dir is damaged or not a shelf detector's.
    """
    index = DatasetIndex.read(index_path)
    photos = spread(index.split(split), MOST_PHOTOS)
    if lack := _lack(photos, split):
        return write_verdicts(model_dir, forbid(lack))
    base = ShelfDetector.load(model_dir, precision="fp32", lanes=pass_workers(workers))

    def look(
        photo: Photo, detectors: Mapping[Precision, ShelfDetector]
    ) -> dict[Precision, tuple[Found, VoidSet]]:
        decoded = decode_known(photo, read_photo_bytes(index, photo), base.decode)
        sights = {precision: Sight.of(detector, decoded) for precision, detector in detectors.items()}
        return {
            precision: (sight.candidates(), sight.voids_at_any_confidence())
            for precision, sight in sights.items()
        }

    def figures(seen: Sequence[tuple[Found, VoidSet]]) -> dict[str, float]:
        found, voids = zip(*seen, strict=True)
        pairs = [(mine, void_truth(photo)) for photo, mine in zip(photos, voids, strict=True)]
        return figures_of(photos, found, pairs)

    return score_precisions(base, photos, look, figures, workers, progress)


def figures_of(
    photos: Sequence[Photo], found: Sequence[Found], voids: Sequence[tuple[VoidSet, VoidSet | None]]
) -> dict[str, float]:
    """What is compared between precisions: `ap50`, and `void_f1` where voids are known.

    Args:
        photos: n of them.
        found: n candidates, boxes and scores, see `ShelfDetector.candidates`.
        voids: those found at any confidence, and the known ones, of photos; None where they are not known.
    """
    figures = {"ap50": score_detections([photo.boxes for photo in photos], found).ap50}
    known = [(mine, truth) for mine, truth in voids if truth is not None]
    if known:
        mine, truths = zip(*known, strict=True)
        figures["void_f1"] = float(void_curve(mine, truths, iou=0.3).f1.max(initial=0))
    return figures


def _lack(photos: Sequence[Photo], split: str) -> str:
    """What there is too little of to tell precisions apart; '' where there is enough."""
    products = sum(len(photo.boxes) for photo in photos)
    if products < LEAST_PRODUCTS:
        return f"{products:,} products in split {split}, it takes {LEAST_PRODUCTS:,}"
    truths = [truth for photo in photos if (truth := void_truth(photo)) is not None]
    voids = sum(int((~truth.ignored).sum()) for truth in truths)
    if truths and voids < LEAST_VOIDS:
        return f"{voids:,} known voids in split {split}, it takes {LEAST_VOIDS:,}"
    return ""

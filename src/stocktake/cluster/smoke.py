"""The smoke test: a candidate has to say of stored photos what its model dir says of them offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stocktake.bins.counter import BinCounter, BinReport
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import DataError, SettingsError
from stocktake.files import read_file
from stocktake.images import encode_jpeg
from stocktake.model_card import ModelCard, Task
from stocktake.shelf.detector import ShelfDetector, ShelfReport

PHOTOS = 8  # at most
DRAWN = 2
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VERSION_DIGITS = 12  # of the digest, that a predictor says


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far answers may be apart: px of a box's sides, and score or probability."""

    px: float
    score: float


SAME_PRECISION = Tolerance(1.0, 1e-2)
OTHER_PRECISION = Tolerance(4.0, 5e-2)  # the predictor computes in one that this machine does not have


class Disagreement(Exception):
    """A candidate says something else than its model dir; the message says what."""


def smoke_photos(source: Path | None, task: Task) -> list[bytes]:
    """Photos to ask about.

    Args:
        source: a folder of photos, or an index.parquet, whose test photos are taken; None draws some.
        task: of the model.

    Raises:
        DataError: there is none, or one can't be read.
    """
    if source is None:
        return _drawn(task)
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(
                f"{source}: holds no photo to test with; give a folder of .jpg, .png or .webp files"
            )
        return [read_file(path) for path in paths[:PHOTOS]]
    index = DatasetIndex.read(source)
    photos = index.split("test")
    if not photos:
        raise DataError(f"{source}: has no test photos to test with")
    step = max(1, len(photos) // PHOTOS)
    return [read_photo_bytes(index, photo) for photo in photos[::step][:PHOTOS]]


def check_photos(model_dir: Path, photos: Sequence[bytes]) -> None:
    """Make sure that a predictor that says nothing at all would be told by these photos.

    Raises:
        DataError: the model finds no product on any of them.
    """
    model, _ = _offline(model_dir, None)
    if isinstance(model, BinCounter):  # says a probability for each count, whatever the photo
        return
    found = (model.detect(photo) for photo in photos)
    if not any(is_telling(known, model.card, OTHER_PRECISION) for known in found):
        raise DataError(
            f"the model finds no product on any of the {len(photos)} photos of the smoke test, so a "
            "predictor that says nothing would pass; give a folder of photos of shelves with --smoke"
        )


def check_answers(
    clients: Sequence[PredictorClient], model_dir: Path, digest: str, photos: Sequence[bytes]
) -> str:
    """Ask every replica about every photo, and compare.

    Returns:
        What was compared, in a sentence.

    Raises:
        Disagreement: it serves other files, or says something else.
        StoreError: it does not answer.
    """
    precision = _check_versions(clients, digest)
    model, tolerance = _offline(model_dir, precision)
    silent = 0
    for number, photo in enumerate(photos, start=1):
        known = model.detect(photo) if isinstance(model, ShelfDetector) else model.count(photo)
        silent += isinstance(known, ShelfReport) and not is_telling(known, model.card, tolerance)
        for client in clients:
            difference = (
                compare_shelves(known, client.infer(photo), model.card, tolerance)
                if isinstance(known, ShelfReport)
                else compare_bins(known, client.infer(photo), tolerance)
            )
            if difference:
                raise Disagreement(f"photo {number} of {len(photos)} at {client.url}: {difference}")
    without = f" ({silent} without a product)" if silent else ""
    return (
        f"{len(photos)} photos{without} at {len(clients)} "
        f"address{'es' * (len(clients) > 1)} in {precision} answered as offline in {model.runner.precision}, "
        f"to {tolerance.px:g} px and {tolerance.score:g}"
    )


def is_telling(known: ShelfReport, card: ModelCard, tolerance: Tolerance) -> bool:
    """Whether the report has a product that a predictor has to find, too."""
    return bool(known.scores.max(initial=0) > lowest_score(known, card) + tolerance.score)


def lowest_score(known: ShelfReport, card: ModelCard) -> float:
    """What a product has to score to be reported: the card's threshold, or what the last place went for."""
    is_full = len(known.scores) >= card.max_detections
    return float(known.scores.min()) if is_full else card.score_threshold


def compare_shelves(
    known: ShelfReport, said: Mapping[str, Any], card: ModelCard, tolerance: Tolerance
) -> str:
    """What is different between a report and what a predictor said; empty where nothing is.

    A product may be missing on one side where its score is within the tolerance of the lowest that counts.
    """
    boxes = np.array(said["boxes"], np.float32).reshape(-1, 4)
    scores = np.array(said["scores"], np.float32)
    sides = ((known.boxes, known.scores, boxes, scores), (boxes, scores, known.boxes, known.scores))
    lowest = lowest_score(known, card)
    for whose, (ours, our_scores, theirs, their_scores) in zip(("missing", "too many"), sides, strict=True):
        for box, score in zip(ours, our_scores, strict=True):
            near = np.abs(theirs - box).max(axis=1, initial=0) <= tolerance.px
            alike = near & (np.abs(their_scores - score) <= tolerance.score)
            if not alike.any() and score > lowest + tolerance.score:
                sides_px = ", ".join(f"{value:.1f}" for value in box)
                return f"a product at {sides_px} px with score {score:.3f} is {whose}"
    if tolerance == SAME_PRECISION and len(known.voids) != len(said["void_scores"]):
        return f"{len(said['void_scores'])} voids, offline {len(known.voids)}"
    return ""


def compare_bins(known: BinReport, said: Mapping[str, Any], tolerance: Tolerance) -> str:
    """What is different between a count and what a predictor said; empty where nothing is."""
    probabilities = np.array(said["probabilities"], np.float32).ravel()
    if probabilities.shape != known.probabilities.shape:
        return f"{len(probabilities)} classes, offline {len(known.probabilities)}"
    furthest = float(np.abs(probabilities - known.probabilities).max())
    if furthest > tolerance.score:
        return f"a probability that is {furthest:.3f} from the offline one"
    two = np.sort(known.probabilities)[-2:]
    if said["count"] != [known.count] and two[1] - two[0] > 2 * tolerance.score:
        return f"a count of {said['count'][0]}, offline {known.count}"
    return ""


def _check_versions(clients: Sequence[PredictorClient], digest: str) -> str | None:
    """The precision that the replicas compute in, once all have said that they serve this digest."""
    about: dict[str, Any] = {}
    for client in clients:
        about = client.metadata()
        if digest[:VERSION_DIGITS] not in about["versions"]:
            raise Disagreement(f"{client.url} serves {about['versions']}, not {digest[:VERSION_DIGITS]}")
    return about.get("properties", {}).get("precision")


def _offline(model_dir: Path, precision: Any) -> tuple[ShelfDetector | BinCounter, Tolerance]:
    """The model as the candidate runs it, or as this machine can."""
    kind = ShelfDetector if ModelCard.read(model_dir).task == "shelf-detector" else BinCounter
    try:
        return kind.load(model_dir, precision=precision), SAME_PRECISION
    except SettingsError:
        return kind.load(model_dir), OTHER_PRECISION


def _drawn(task: Task) -> list[bytes]:
    from stocktake.synthetic.bins import draw_bin
    from stocktake.synthetic.draw_settings import DrawSettings
    from stocktake.synthetic.shelves import draw_shelf

    rng = np.random.default_rng(0)
    if task == "bin-counter":
        return [encode_jpeg(draw_bin(rng).photo, 90) for _ in range(DRAWN)]
    return [encode_jpeg(draw_shelf(rng, DrawSettings()).photo, 90) for _ in range(DRAWN)]

"""Label preparation: boxes that a trainer can take, and an account of every one that was changed."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from stocktake.boxes import FloatArray, clip_boxes
from stocktake.dataset import SPLITS, DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.shelf.label_report import LabelReport, SplitCounts

log = logging.getLogger(__name__)

MIN_SIDE = 1.0  # px; a box that is not wider and higher than this holds nothing to learn


def prepare(index_path: Path, out_dir: Path) -> LabelReport:
    """Prepare the labels of an index and write `out_dir`/{index.parquet, report.json, report.html}.

    Raises:
        DataError: the index can't be read, or nothing is left to train on.
        StoreError: `out_dir` can't be written.
    """
    index, report = prepare_labels(DatasetIndex.read(index_path))
    if not report.boxes_kept:
        raise DataError(
            f"{index_path}: none of its {report.boxes_read} boxes can be used; {report.summary()}"
        )
    index.write(out_dir / "index.parquet")
    report.write(out_dir, index)
    log.info("%s", report.summary())
    return report


def prepare_labels(index: DatasetIndex) -> tuple[DatasetIndex, LabelReport]:
    """Clip boxes to their photos; drop boxes without area, repeated boxes, and repeated photos from train.

    A photo that comes twice (equal bytes) is dropped from train, where it would count double or, if its twin
    is in val or test, give the answer away. Val and test stay as they are published, so that figures can be
    compared; repeats in them are only counted.

    Returns:
        The prepared index, whose photos come from the same store, and the account of what was done.
    """
    repeated = _repeated_in_train(index.photos)
    photos, boxes = [], Counter[str]()
    for photo in index.photos:
        boxes["read"] += len(photo.boxes)
        if photo.split == "train" and photo.name in repeated:
            boxes["repeated_photo"] += len(photo.boxes)
            continue
        kept = _clean(photo, boxes)
        boxes["kept"] += len(kept)
        photos.append(replace(photo, boxes=kept))
    prepared = DatasetIndex(photos, index.store, {**index.metadata, "made_from": index.digest})
    return prepared, LabelReport(
        name=str(index.metadata.get("name", "photos")),
        digest=prepared.digest,
        made_from=index.digest,
        photos_read=len(index.photos),
        photos_kept=len(photos),
        photos_dropped=repeated,
        photos_empty=sorted(photo.name for photo in photos if not len(photo.boxes)),
        photos_repeated_elsewhere=_repeated_elsewhere(photos),
        groups_in_two_splits=_torn_groups(photos),
        boxes_read=boxes["read"],
        boxes_kept=boxes["kept"],
        boxes_clipped=boxes["clipped"],
        boxes_dropped={
            reason: boxes[reason] for reason in ("not_finite", "outside", "thin", "twice", "repeated_photo")
        },
        splits={split: _count(split, photos) for split in SPLITS},
    )


def _clean(photo: Photo, counts: Counter[str]) -> FloatArray:
    """The photo's boxes that are fit for training; what was done to the others is added to `counts`."""
    boxes = np.asarray(photo.boxes, np.float32).reshape(-1, 4)
    finite = np.isfinite(boxes).all(axis=1)
    counts["not_finite"] += int((~finite).sum())
    boxes = boxes[finite]
    clipped = clip_boxes(boxes, photo.width, photo.height)
    sides = clipped[:, 2:] - clipped[:, :2]
    wide = (sides > MIN_SIDE).all(axis=1)
    had_area = ((boxes[:, 2:] - boxes[:, :2]) > MIN_SIDE).all(axis=1)
    counts["outside"] += int((~wide & had_area).sum())
    counts["thin"] += int((~wide & ~had_area).sum())
    counts["clipped"] += int((clipped != boxes).any(axis=1)[wide].sum())
    clipped = clipped[wide]
    _, first = np.unique(clipped, axis=0, return_index=True)
    counts["twice"] += len(clipped) - len(first)
    return clipped[np.sort(first)]


def _repeated_in_train(photos: Iterable[Photo]) -> dict[str, str]:
    """Train photos to drop: name -> why."""
    photos = list(photos)
    elsewhere = {photo.sha256: photo for photo in photos if photo.split != "train"}
    first: dict[str, str] = {}
    dropped = {}
    for photo in photos:
        if photo.split != "train":
            continue
        if twin := elsewhere.get(photo.sha256):
            dropped[photo.name] = f"the same photo as {twin.name} in {twin.split}"
        elif other := first.get(photo.sha256):
            dropped[photo.name] = f"the same photo as {other} in train"
        else:
            first[photo.sha256] = photo.name
    return dropped


def _repeated_elsewhere(photos: list[Photo]) -> dict[str, str]:
    """Val and test photos that are there twice: name -> name of the first."""
    first: dict[str, str] = {}
    repeated = {}
    for photo in photos:
        if photo.split == "train":
            continue
        if photo.sha256 in first:
            repeated[photo.name] = first[photo.sha256]
        first.setdefault(photo.sha256, photo.name)
    return repeated


def _torn_groups(photos: list[Photo]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for photo in photos:
        splits.setdefault(photo.group, set()).add(photo.split)
    return sorted(group for group, found in splits.items() if len(found) > 1)


def _count(split: str, photos: list[Photo]) -> SplitCounts:
    counts = [len(photo.boxes) for photo in photos if photo.split == split]
    return SplitCounts(
        photos=len(counts),
        boxes=sum(counts),
        median=float(np.median(counts)) if counts else 0.0,
        most=max(counts, default=0),
    )

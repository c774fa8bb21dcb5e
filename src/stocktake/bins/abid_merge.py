"""The index of what one worker or many have read: quota over all, groups across all, reports."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stocktake.bins.abid_groups import group_bins
from stocktake.bins.abid_parts import Bin, Parts
from stocktake.bins.abid_reading import Run
from stocktake.bins.abid_selection import Selection
from stocktake.bins.ingest_report import IngestReport, make_report
from stocktake.dataset import INDEX_FILE, DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.storage import open_store

log = logging.getLogger(__name__)

_NO_BOXES = np.zeros((0, 4), np.float32)


def merge(folders: Sequence[Path], out_dir: Path) -> Path:
    """Make the index of what all shards have read: `out_dir`/{index.parquet, report.json, report.html}.

    Photos are grouped here, so neighbours find each other across shards.

    Args:
        folders: the `out_dir` of each shard, or the one that they shared.
        out_dir: made if needed.

    Returns:
        The path of the index.

    Raises:
        DataError: a shard is missing or not finished, they don't fit together, or nothing usable is left.
        StoreError: `out_dir` or the store can't be written.
    """
    return write_index(folders, out_dir, Run(), time.monotonic())


def write_index(folders: Sequence[Path], out_dir: Path, done: Run, begun: float) -> Path:
    """As `merge`, with what this run has read and the time.monotonic() when it began, for the report."""
    parts = Parts.find(folders)
    bins, skus = _take(parts)
    digests = {found.id: found.sha256 for found in bins if not found.reason}
    groups = group_bins(skus, digests)
    photos = [_photo(found, groups[found.id]) for found in bins if not found.reason]
    about = parts.about
    metadata = {key: about[key] for key in ("name", "source", "licence", "selection")}
    metadata["left_out"] = {}
    for found in bins:
        if found.reason:
            metadata["left_out"][found.reason] = metadata["left_out"].get(found.reason, 0) + 1
    index = DatasetIndex(photos, about["store"], metadata)
    report = make_report(index, bins, parts, len(skus) - len(bins), done, time.monotonic() - begun)
    _check_outcome(report, out_dir)
    path = out_dir / INDEX_FILE
    index.write(path)
    report.write(out_dir, index)
    if any(photo.offset is not None for photo in photos):
        open_store(about["store"]).put(INDEX_FILE, path)
    log.info("%s", report.summary())
    return path


def _photo(found: Bin, group: str) -> Photo:
    return Photo(
        name=found.name,
        uri=found.key,
        length=found.length,
        sha256=found.sha256,
        width=found.width,
        height=found.height,
        split="",
        group=group,
        boxes=_NO_BOXES,
        offset=found.offset,
        quantity=found.quantity,
    )


def _take(parts: Parts) -> tuple[list[Bin], dict[str, tuple[str, ...]]]:
    """The bins that quota and limit let in, or that are left out for another reason; the articles of all."""
    selection = Selection.of(parts.about)
    bins: list[Bin] = []
    skus: dict[str, tuple[str, ...]] = {}
    for found in parts.bins():
        if selection.is_full:
            break
        skus[found.id] = found.skus
        if found.quantity is not None and not selection.wants(found.quantity):
            continue
        if found.quantity is not None and not found.reason:
            selection.take(found.quantity)
        bins.append(found)
    return bins, skus


def _check_outcome(report: IngestReport, out_dir: Path) -> None:
    if not report.photos_kept:
        report.write(out_dir, None)
        raise DataError(f"no usable bin is left ({report.reasons()}); see {out_dir / 'report.json'}")

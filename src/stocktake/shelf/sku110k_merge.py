"""The index of what one worker or many have read: rows and photos joined, reports."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stocktake.dataset import DRAWN_LICENCE, INDEX_FILE, DatasetIndex
from stocktake.errors import DataError
from stocktake.shelf.ingest_report import IngestReport, make_report
from stocktake.shelf.sku110k_parts import read_parts
from stocktake.shelf.sku110k_reading import Found
from stocktake.shelf.sku110k_rows import join_rows

log = logging.getLogger(__name__)

LICENCE = "SKU-110K: academic and non-commercial use only, no redistribution"


def merge(folders: Sequence[Path], out_dir: Path) -> Path:
    """Make the index of what all shards have read: `out_dir`/{index.parquet, report.json, report.html}.

    Args:
        folders: the `out_dir` of each shard, or the one that they shared.
        out_dir: made if needed.

    Returns:
        The path of the index.

    Raises:
        DataError: a shard is missing or not finished, they don't fit together, or nothing usable is left.
        StoreError: `out_dir` can't be written.
    """
    begun = time.monotonic()
    about, found = read_parts(folders)
    found.seconds += time.monotonic() - begun
    return write_index(about, found, out_dir)


def write_index(about: dict[str, Any], found: Found, out_dir: Path) -> Path:
    """As `merge`, of what has been found.

    Args:
        about: name, source, store and licence of the photos (None for the usual one), and `exclude`.
        found: by all workers.
        out_dir: made if needed.
    """
    begun = time.monotonic()
    annotations, exclude = found.annotations, about["exclude"]
    annotations.finish()
    joined = join_rows(annotations, found.sightings, found.beyond_limit, exclude == "strict")
    metadata = {
        "name": about["name"],
        "source": about["source"],
        "licence": about["licence"] or (DRAWN_LICENCE if annotations.knows_voids else LICENCE),
        "exclude": exclude,
        "left_out": {reason: sorted(names) for reason, names in sorted(joined.left_out.items()) if names},
    }
    index = DatasetIndex(joined.photos, about["store"], metadata)
    seconds = found.seconds + time.monotonic() - begun
    report = make_report(index, annotations, joined, found.counts, seconds)
    _check_outcome(report, exclude, out_dir)
    path = out_dir / INDEX_FILE
    index.write(path)
    report.write(out_dir, index)
    log.info("%d of %d photos kept; %s", report.photos_kept, report.photos_found, report.reasons())
    return path


def _check_outcome(report: IngestReport, exclude: str, out_dir: Path) -> None:
    unreadable = report.left_out.get("unreadable", {})
    if exclude == "none" and unreadable:
        name, why = next(iter(unreadable.items()))
        raise DataError(
            f"{len(unreadable)} photos cannot be read, the first is {name}: {why}; fix them or pass "
            "exclude='unreadable' to leave them out"
        )
    if not report.photos_kept:
        report.write(out_dir, None)
        raise DataError(f"no usable photo is left ({report.reasons()}); see {out_dir / 'report.json'}")

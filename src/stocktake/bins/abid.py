"""The Amazon Bin Image Dataset in, index out: every file read to its end, every id accounted for."""

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stocktake.archive import public_url
from stocktake.bins.abid_groups import group_bins
from stocktake.bins.abid_parts import Bin, Manifest, Parts, forget_manifests, write_manifest
from stocktake.bins.abid_reading import Reading, Run
from stocktake.bins.abid_selection import FileList, Selection, check_selection, read_file_list
from stocktake.bins.abid_source import Listing, Shard, Source, list_all, list_named, open_source
from stocktake.bins.ingest_report import IngestReport, make_report
from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError, SettingsError
from stocktake.setting_checks import expect_whole
from stocktake.settings import Settings, load_settings
from stocktake.storage import Store, join_uri, open_store

log = logging.getLogger(__name__)

LICENCE = "ABID: CC BY-NC-SA 3.0 US, non-commercial use only"
INDEX = "index.parquet"
_NO_BOXES = np.zeros((0, 4), np.float32)


def ingest(
    source: str,
    out_dir: Path,
    store: str | None = None,
    copy: bool = False,
    file_list: Path | None = None,
    quota: int | dict[int, int] | None = None,
    limit: int | None = None,
    workers: int | None = None,
    shard: str | None = None,
    name: str | None = None,
    licence: str | None = None,
    progress: bool = True,
) -> Path:
    """Read bins in ABID's layout and write `out_dir`/{index.parquet, report.json, report.html}.

    The quantity is EXPECTED_QUANTITY. Photos are decoded to their last byte and belong to no split yet; those
    of the same bin get one group, as `group_bins` says. A run that was killed continues: what is known and
    unchanged in the source is not read again, but for the up to 100 bins that it was at.

    Args:
        source: a folder, s3://bucket/prefix, or the http(s) address of a public bucket such as
            https://aft-vbi-pds.s3.amazonaws.com; with bin-images/<id>.jpg and metadata/<id>.json in it.
            Folders and prefixes are referenced in place and never written.
        out_dir: made if needed.
        store: where copied photos go, as tar shards datasets/<name>/photos-<ids>-<digest>.tar, and a copy of
            the index; STOCKTAKE_STORE when None.
        copy: put the photos of a folder or a prefix into the store too. Photos from an http(s) address
            always go there.
        file_list: JSON, a dict of count -> list of metadata paths: only these bins.
        quota: at most this many bins of each count, or of the counts given, in the order of the ids.
        limit: at most this many bins.
        workers: threads; when None one per core, or at least eight where photos cross a network.
        shard: 'K/N', 1-based: only the K-th of N parts, for N machines. It writes no index, but what `merge`
            makes one of, and the outcome does not depend on N.
        name: of the data set; the source's own name when None.
        licence: of the photos; when None the first line of the source's licence.txt, which drawn bins have,
            or else ABID's.
        progress: show a bar on a terminal.

    Returns:
        The path of the index; with `shard` the folder, for `merge`.

    Raises:
        DataError: the source or the file list is missing, empty or malformed, or nothing usable is left.
        StoreError: a store can't be reached, read or written.
        SettingsError: an argument has an impossible value.
    """
    settings, begun = load_settings(), time.monotonic()
    per_count = dict.fromkeys(range(256), quota) if isinstance(quota, int) else quota
    check_selection(per_count, limit)
    if workers is not None:
        expect_whole("workers", workers, 1, 1024)
    mine = parse_shard(shard)
    origin = open_source(source, settings)
    listed = read_file_list(file_list) if file_list else None
    name = name or _default_name(source)
    about: dict[str, Any] = {
        "name": name,
        "source": public_url(source),
        "licence": licence or origin.licence() or LICENCE,
        "selection": _describe(file_list, quota, limit),
        "quota": None if per_count is None else {str(key): most for key, most in per_count.items()},
        "limit": limit,
    }
    target = None
    if copy or not origin.in_place:
        target = open_store(join_uri(store or settings.store, "datasets", name), settings)
    about["store"] = (target or origin.store).uri
    workers = workers or _workers(settings, origin, target)
    forget_manifests(out_dir, (mine.number, mine.count))
    listing = _list(origin, mine, listed, workers)
    reading = Reading(origin.store, target, out_dir, about, _selection(about))
    buckets = reading.run(listing, workers, progress)
    write_manifest(
        out_dir,
        Manifest(about, (mine.number, mine.count), buckets, listing.repeated, listing.other_files),
    )
    log.info("%d bins read, %d known", reading.done.read, reading.done.known)
    if mine.count > 1:
        return out_dir
    return _merge(Parts.find([out_dir]), out_dir, reading.done, begun)


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
    return _merge(Parts.find(folders), out_dir, Run(), time.monotonic())


def parse_shard(text: str | None) -> Shard:
    """'2/8' as the second of eight.

    Raises:
        SettingsError: it is not of this form.
    """
    if text is None:
        return Shard()
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise SettingsError(f"shard is {text!r}; it must be K/N with K in 1..N, such as 2/8")
    return Shard(int(match[1]), int(match[2]))


def _merge(parts: Parts, out_dir: Path, done: Run, begun: float) -> Path:
    """Apply quota and limit over all shards, group, write."""
    selection = _selection(parts.about)
    bins: list[Bin] = []
    skus: dict[str, tuple[str, ...]] = {}
    for found in parts.bins():
        if selection.is_full:
            break
        skus[found.id] = found.skus
        if found.quantity is not None and not selection.wants(found.quantity):
            continue
        if found.quantity is not None and not found.reason:
            selection.taken[found.quantity] += 1
        bins.append(found)
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
    path = out_dir / INDEX
    index.write(path)
    report.write(out_dir, index)
    if any(photo.offset is not None for photo in photos):
        open_store(about["store"]).put(INDEX, path)
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


def _list(origin: Source, shard: Shard, listed: FileList | None, workers: int) -> Listing:
    return list_named(origin, shard, listed, workers) if listed else list_all(origin, shard)


def _selection(about: dict[str, Any]) -> Selection:
    quota = about["quota"]
    return Selection(quota and {int(key): most for key, most in quota.items()}, about["limit"])


def _describe(file_list: Path | None, quota: int | dict[int, int] | None, limit: int | None) -> str:
    parts = [f"the file list {file_list.name}"] if file_list else []
    if isinstance(quota, int):
        parts.append(f"at most {quota} bins of each count")
    elif quota:
        parts.append("at most " + ", ".join(f"{most} of count {count}" for count, most in quota.items()))
    if limit:
        parts.append(f"at most {limit} bins")
    return "; ".join(parts) or "all"


def _workers(settings: Settings, origin: Source, target: Store | None) -> int:
    uris = [origin.store.uri, target.uri if target else ""]
    return settings.transfer_workers if any("://" in uri for uri in uris) else settings.cpu_workers


def _default_name(source: str) -> str:
    last = re.sub(r"^\w+://", "", source.rstrip("/").partition("?")[0]).rpartition("/")[2]
    last = last.partition(".s3.")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "bins"


def _check_outcome(report: IngestReport, out_dir: Path) -> None:
    if not report.photos_kept:
        report.write(out_dir, None)
        raise DataError(f"no usable bin is left ({report.reasons()}); see {out_dir / 'report.json'}")

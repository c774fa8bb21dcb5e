"""The Amazon Bin Image Dataset in, index out: every file read to its end, every id accounted for."""

import logging
import re
import time
from pathlib import Path

from stocktake.archive import public_url
from stocktake.bins.abid_merge import write_index
from stocktake.bins.abid_parts import Manifest
from stocktake.bins.abid_reading import Reading
from stocktake.bins.abid_selection import Selection, check_selection, read_file_list
from stocktake.bins.abid_source import Source, list_all, list_named, open_source
from stocktake.ingest_shards import forget_manifests, parse_shard, write_manifest
from stocktake.setting_checks import expect_whole
from stocktake.settings import Settings, load_settings
from stocktake.storage import Store, join_uri, open_store

log = logging.getLogger(__name__)

LICENCE = "ABID: CC BY-NC-SA 3.0 US, non-commercial use only"


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
    target = None
    if copy or not origin.in_place:
        target = open_store(join_uri(store or settings.store, "datasets", name), settings)
    about = {
        "name": name,
        "source": public_url(source),
        "store": (target or origin.store).uri,
        "licence": licence or origin.licence() or LICENCE,
        "selection": _describe(file_list, quota, limit),
        "file_list": listed and listed.digest,
        "quota": per_count and dict(zip(map(str, per_count), per_count.values(), strict=True)),
        "limit": limit,
    }
    workers = workers or _workers(settings, origin, target)
    forget_manifests(out_dir, mine)
    listing = list_named(origin, mine, listed, workers) if listed else list_all(origin, mine, progress)
    reading = Reading(origin.store, target, out_dir, about, Selection.of(about))
    buckets = reading.run(listing, workers, progress)
    write_manifest(out_dir, Manifest(about, mine, buckets, listing.repeated, listing.other_files))
    log.info("%d bins read, %d known", reading.done.read, reading.done.known)
    return write_index([out_dir], out_dir, reading.done, begun) if mine.count == 1 else out_dir


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

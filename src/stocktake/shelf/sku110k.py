"""SKU-110K in, index out: every photo decoded to its last byte, every row accounted for."""

import re
import time
from importlib.metadata import version
from pathlib import Path

from stocktake.archive import public_url
from stocktake.errors import SettingsError
from stocktake.ingest_shards import Shard, forget_manifests, parse_shard
from stocktake.journal import Journal
from stocktake.settings import Settings, load_settings
from stocktake.shelf.sku110k_exclusions import EXCLUSIONS
from stocktake.shelf.sku110k_merge import write_index
from stocktake.shelf.sku110k_parts import write_part
from stocktake.shelf.sku110k_reading import Reading
from stocktake.shelf.sku110k_source import Source, open_source
from stocktake.storage import Store, join_uri, open_store


def ingest(
    source: str,
    out_dir: Path,
    store: str | None = None,
    copy: bool = False,
    exclude: str = "unreadable",
    workers: int | None = None,
    limit: int | None = None,
    shard: str | None = None,
    name: str | None = None,
    licence: str | None = None,
    progress: bool = True,
) -> Path:
    """Read a data set in SKU-110K's layout and write `out_dir`/{index.parquet, report.json, report.html}.

    Every photo is decoded to its last byte. Boxes are taken as they stand, in the frame of the photo after
    EXIF rotation; clipping is label preparation's work. A run that was killed continues: what is known is not
    read again (folder, s3://) or not decoded and stored again (archive).

    Args:
        source: a folder, a .tar or .tar.gz file, an http(s) URL of one, or s3://bucket/prefix, with the
            folders `images` and `annotations`. Folders and prefixes are referenced in place, never written.
        out_dir: made if needed.
        store: where the photos of an archive go, as datasets/<name>/images/<photo>-<digest>.<suffix>, so that
            archives of one name never overwrite each other's; STOCKTAKE_STORE when None.
        copy: put the photos of a folder or a prefix into the store too.
        exclude: "unreadable" leaves out what can't be decoded; "strict" also the published list of 54 photos;
            "none" takes an unreadable photo for an error. Names by reason are in the index's metadata.
        workers: threads; when None one per core, or at least eight where photos cross a network.
        limit: at most this many photos of each split, for a quick look.
        shard: 'K/N', 1-based: only the photos of the K-th of N workers. It writes no index, but what `merge`
            makes one of, and the outcome does not depend on N. Each worker lists the source; an archive is
            read to its end by each, with the others' photos passed over.
        name: of the data set; the source's own name when None.
        licence: of the photos; SKU-110K's own when None, and another for drawn photos.
        progress: show a bar on a terminal.

    Returns:
        The path of the index; with `shard` the folder, for `merge`.

    Raises:
        DataError: the source is missing, empty or malformed, or nothing usable is left.
        StoreError: the store can't be reached or written.
        SettingsError: an argument has an impossible value.
    """
    settings = load_settings()
    _check_arguments(exclude, workers, limit)
    begun = time.monotonic()
    mine = parse_shard(shard)
    origin = open_source(source, mine)
    name = name or _default_name(source)
    target = None
    if copy or origin.store is None:
        target = open_store(join_uri(store or settings.store, "datasets", name), settings)
    home = target or origin.store
    assert home is not None
    source = public_url(source)
    about = {"source": source, "store": home.uri, "stocktake": version("stocktake")}
    forget_manifests(out_dir, mine)
    with Journal(out_dir / _journal_name(mine), about) as journal:
        reading = Reading(origin, target, journal, limit, mine)
        reading.run(workers or _workers(settings, origin, home), progress)
    found = reading.found
    found.seconds = time.monotonic() - begun
    asked = {
        "name": name, "source": source, "store": home.uri, "licence": licence, "exclude": exclude,
        "limit": limit,
    }  # fmt: skip
    if shard is None:
        return write_index(asked, found, out_dir)
    write_part(out_dir, asked, mine, found, reading.annotation_files)
    return out_dir


def _journal_name(shard: Shard) -> str:
    """Workers may share a folder, and none of them writes into another's journal."""
    part = f"-{shard.number}-of-{shard.count}" if shard.count > 1 else ""
    return f"ingest{part}.journal.jsonl"


def _workers(settings: Settings, origin: Source, home: Store) -> int:
    uris = [home.uri, origin.store.uri if origin.store else ""]
    return settings.transfer_workers if any("://" in uri for uri in uris) else settings.cpu_workers


def _default_name(source: str) -> str:
    last = source.rstrip("/").rpartition("/")[2].partition("?")[0]
    last = re.sub(r"\.(tar|tgz|tar\.\w+)$", "", last)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "shelves"


def _check_arguments(exclude: str, workers: int | None, limit: int | None) -> None:
    if exclude not in EXCLUSIONS:
        raise SettingsError(f"exclude must be one of {', '.join(EXCLUSIONS)}, found {exclude!r}")
    for label, value in (("workers", workers), ("limit", limit)):
        if value is not None and value < 1:
            raise SettingsError(f"{label} must be at least 1, found {value}")

"""The places that bins come from: a folder, an S3 prefix, a public bucket behind its address."""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from stocktake.bins.abid_ids import bucket_of, bucket_order, order
from stocktake.bins.abid_selection import FileList
from stocktake.dataset import LICENCE_FILE
from stocktake.errors import DataError
from stocktake.ingest_shards import Shard
from stocktake.parallel import map_in_order
from stocktake.settings import Settings
from stocktake.storage import ObjectInfo, Store, open_store

PHOTOS, METADATA = "bin-images", "metadata"
LAYOUT = f"expected the folders {PHOTOS} with <id>.jpg and {METADATA} with <id>.json"

# how photos may end, the usual one first: a file list asks for one after the other until one is there
SUFFIXES = ("jpg", "jpeg", "png", "JPG", "JPEG", "PNG", "Jpg", "Jpeg", "Png")
_PHOTO = re.compile(rf"{PHOTOS}/([^/.][^/]*)\.(?:jpe?g|png)", re.IGNORECASE)
_METADATA = re.compile(rf"{METADATA}/([^/.][^/]*)\.json")
_AWS_HOST = re.compile(r"(?P<bucket>[a-z0-9.-]+)\.s3(?P<region>[.-][a-z0-9-]+)?\.amazonaws\.com")


@dataclass(slots=True)
class Entry:
    """What a source has for one id. `stamp` changes when a file of it does."""

    id: str
    photo: str | None = None  # key
    metadata: str | None = None
    stamp: int = 0
    listed: int | None = None  # the count that a file list files it under

    def add(self, found: ObjectInfo) -> None:
        """Take a change of this file for a change of the bin."""
        self.stamp = zlib.crc32(f"{found.key} {found.size} {found.version}".encode(), self.stamp)


@dataclass
class Listing:
    """The bins of a shard, in no order, and what else was found while looking for them."""

    entries: dict[str, Entry] = field(default_factory=dict)
    repeated: dict[str, str] = field(default_factory=dict)  # id -> what was found
    other_files: int = 0

    def buckets(self) -> dict[str, list[Entry]]:
        """Entries by bucket, buckets and entries in the order of the ids."""
        found: dict[str, list[Entry]] = {}
        for bin_id in sorted(self.entries, key=order):
            found.setdefault(bucket_of(bin_id), []).append(self.entries[bin_id])
        return {bucket: found[bucket] for bucket in sorted(found, key=bucket_order)}


@dataclass(frozen=True)
class Source:
    """A store with bins in ABID's layout. Photos behind a public address can't stay where they are."""

    store: Store
    description: str
    in_place: bool

    def licence(self) -> str | None:
        """The first line of its licence.txt, where it has one."""
        if not self.store.exists(LICENCE_FILE):
            return None
        return self.store.get(LICENCE_FILE).decode("utf-8", "replace").partition("\n")[0].strip() or None


def open_source(source: str, settings: Settings) -> Source:
    """Find out what `source` is; a network is not asked.

    Args:
        source: a folder, s3://bucket/prefix with the environment's credentials or anonymous without any, or
            the http(s) address of a public bucket, which is asked anonymously.
        settings: endpoint and credentials of s3://.

    Raises:
        DataError: there is no such folder, or the scheme is unknown.
    """
    if source.startswith("s3://"):
        return Source(open_store(source, settings), source, True)
    if source.startswith(("http://", "https://")):
        return Source(_public_bucket(source, settings), source, False)
    path = Path(source.removeprefix("file://")).expanduser()
    if "://" in str(path) or not path.is_dir():
        raise DataError(f"{source}: there is no such folder; give a folder, s3://bucket/prefix or https://…")
    return Source(open_store(str(path)), str(path), True)


def check_answers(source: Source) -> None:
    """Ask a source for its first file.

    Raises:
        StoreError: it can't be reached, or refuses.
        DataError: it is empty.
    """
    if next(iter(source.store.list()), None) is None:
        raise DataError(
            f"{source.description}: is empty; it must have bin-images/<id>.jpg and metadata/<id>.json"
        )


def list_all(source: Source, shard: Shard, progress: bool) -> Listing:
    """Every bin of a source, by listing it: a thousand files per request from S3.

    Raises:
        DataError: it is empty or has another layout.
    """
    listing, seen, known = Listing(), 0, 0
    for found in tqdm(source.store.list(), "list", unit="file", disable=None if progress else True):
        seen += 1
        photo, metadata = _PHOTO.fullmatch(found.key), _METADATA.fullmatch(found.key)
        match = photo or metadata
        known += match is not None
        if match is None:
            listing.other_files += found.key != LICENCE_FILE
        elif shard.has(bucket_of(match[1])):
            entry = listing.entries.setdefault(match[1], Entry(match[1]))
            if photo and entry.photo:
                listing.repeated[entry.id] = f"{entry.photo} and {found.key}; the first is used"
                continue
            entry.photo = found.key if photo else entry.photo
            entry.metadata = found.key if metadata else entry.metadata
            entry.add(found)
    if not known:
        what = f"none of its {seen} files is a bin's" if seen else "empty"
        raise DataError(f"{source.description}: {what}; {LAYOUT}")
    return listing


def list_named(source: Source, shard: Shard, wanted: FileList, workers: int) -> Listing:
    """The bins that a file list names, each asked for by itself; the source is not listed.

    A photo ends in one of SUFFIXES; what is written in yet another way, such as .jPG, only `list_all` finds.
    """
    mine: Iterable[str] = (bin_id for bin_id in wanted.counts if shard.has(bucket_of(bin_id)))

    def look_up(bin_id: str) -> Entry:
        entry = Entry(bin_id, listed=wanted.counts[bin_id])
        if found := source.store.stat(f"{METADATA}/{bin_id}.json"):
            entry.metadata = found.key
            entry.add(found)
        names = (f"{PHOTOS}/{bin_id}.{suffix}" for suffix in SUFFIXES)
        if found := next(filter(None, map(source.store.stat, names)), None):
            entry.photo = found.key
            entry.add(found)
        return entry

    entries = {entry.id: entry for entry in map_in_order(look_up, mine, workers)}
    return Listing(
        entries, {bin_id: text for bin_id, text in wanted.repeated.items() if shard.has(bucket_of(bin_id))}
    )


def _public_bucket(address: str, settings: Settings) -> Store:
    endpoint, path = split_address(address)
    anonymous = {"aws_access_key_id": None, "aws_secret_access_key": None, "aws_session_token": None}
    update = {"s3_endpoint_url": endpoint, "aws_region": None, **anonymous}
    return open_store(f"s3://{path}", settings.model_copy(update=update))


def split_address(address: str) -> tuple[str, str]:
    """Endpoint and path of a public bucket, which AWS names before the host and others in the path.

    'https://bucket.s3.amazonaws.com/prefix' -> 'https://s3.amazonaws.com', 'bucket/prefix', and
    'https://host/bucket/prefix' -> 'https://host', 'bucket/prefix'.
    """
    parts = urlsplit(address)
    path = parts.path.strip("/")
    if match := _AWS_HOST.fullmatch(parts.netloc):
        path = f"{match['bucket']}/{path}".rstrip("/")
        return f"{parts.scheme}://s3{match['region'] or ''}.amazonaws.com", path
    return f"{parts.scheme}://{parts.netloc}", path

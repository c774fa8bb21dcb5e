"""The places that SKU-110K comes from: a mapped folder, an S3 prefix, a tar archive, a URL."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from stocktake.archive import read_members
from stocktake.errors import DataError
from stocktake.ingest_shards import Shard
from stocktake.storage import Store, open_store

_PHOTO = re.compile(r"(?:^|/)images/([^/.][^/]*\.(?:jpe?g|png|webp))$", re.IGNORECASE)
_ANNOTATIONS = re.compile(r"(?:^|/)annotations/((?:annotations|voids)_(?:train|val|test)\.csv)$")
EMPTY = "empty; expected the folders images and annotations"
_URLS = ("http://", "https://")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the data set. `version` changes with its bytes; None where only the bytes can tell."""

    path: str
    size: int
    version: str | None
    read: Callable[[], bytes]

    @property
    def photo(self) -> str | None:
        """The photo's name, None for other files."""
        return _match(_PHOTO, self.path)

    @property
    def annotations(self) -> str | None:
        """The annotation file's name, None for other files."""
        return _match(_ANNOTATIONS, self.path)


class Source(Protocol):
    """A data set in SKU-110K's layout."""

    @property
    def store(self) -> Store | None:
        """Where its photos can stay; None for archives."""

    def members(self, on_progress: Progress) -> Iterator[Member]:
        """Its files, annotations first where that can be chosen; calls back with bytes done and in all."""


class TreeSource:
    """A folder or an S3 prefix, only ever read."""

    def __init__(self, store: Store, description: str):
        self.store = store
        self._description = description

    def members(self, on_progress: Progress) -> Iterator[Member]:
        """Annotation files, then the rest in the order of their names."""
        objects = sorted(self.store.list(), key=lambda item: (not _match(_ANNOTATIONS, item.key), item.key))
        if not objects:
            raise DataError(f"{self._description}: {EMPTY}")
        done, total = 0, sum(item.size for item in objects)
        for item in objects:
            yield Member(item.key, item.size, item.version, partial(self.store.get, item.key))
            done += item.size
            on_progress(done, total)


class ArchiveSource:
    """A tar archive in a file or behind a URL, read once from front to end; others' photos without bytes."""

    store = None

    def __init__(self, source: str, shard: Shard):
        self._source, self._shard = source, shard

    def members(self, on_progress: Progress) -> Iterator[Member]:
        """The files in the archive's order, each with its bytes."""
        path = None
        for path, data in read_members(self._source, self._is_wanted, on_progress):
            contents = data or b""
            yield Member(path, len(contents), None, partial(bytes, contents))
        if path is None:
            raise DataError(f"{self._source}: {EMPTY}")

    def _is_wanted(self, path: str) -> bool:
        photo = _match(_PHOTO, path)
        return self._shard.has(photo) if photo else _match(_ANNOTATIONS, path) is not None


def open_source(source: str, shard: Shard | None = None) -> Source:
    """Find out what `source` is; a `shard` needs no bytes of others' photos.

    Raises:
        DataError: as `check_source` does.
    """
    check_source(source)
    shard = shard or Shard()
    if source.startswith("s3://"):
        return TreeSource(open_store(source), source)
    if source.startswith(_URLS):
        return ArchiveSource(source, shard)
    path = _local(source)
    return TreeSource(open_store(str(path)), source) if path.is_dir() else ArchiveSource(str(path), shard)


def check_answers(source: Source) -> None:
    """Ask a source for its first file.

    Raises:
        StoreError: it can't be reached, or refuses.
        DataError: it is empty, or not an archive.
    """
    if source.store is None:
        next(source.members(lambda _done, _total: None), None)
    elif next(iter(source.store.list()), None) is None:
        raise DataError(f"{source.store.uri}: {EMPTY}")


def check_source(source: str) -> None:
    """Refuse what `open_source` would refuse; a network is not asked.

    Raises:
        DataError: there is nothing of that name on this machine, or the scheme of a URL is unknown.
    """
    if source.startswith(("s3://", *_URLS)):
        return
    if "://" in source and not source.startswith("file://"):
        raise DataError(
            f"{source}: the scheme {source.partition('://')[0]!r} is unknown; give a folder, an archive,"
            " or an http(s):// or s3:// address"
        )
    if not (path := _local(source)).is_dir() and not path.is_file():
        raise DataError(f"{source}: there is no such folder or archive; check the path")


def _local(source: str) -> Path:
    return Path(source.removeprefix("file://")).expanduser()


def _match(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.search(path)
    return found.group(1) if found else None

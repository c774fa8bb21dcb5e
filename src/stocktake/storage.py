"""Where photos and models live: a folder or an S3 bucket behind one small interface, named by a URI."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from stocktake.errors import StoreError
from stocktake.files import explain_os_error, sha256_file
from stocktake.parallel import map_bounded
from stocktake.settings import Settings, load_settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object. `version` changes when its bytes do (a modification time or an ETag)."""

    key: str
    size: int
    version: str
    put_at: datetime  # the last time, in UTC, by the store's clock


class Store(Protocol):
    """What the rest of the project asks of a store. Keys are relative POSIX paths.

    A put is atomic: readers see the old object or the whole new one. Every method raises StoreError with the
    next thing to do when the store can't be reached, read or written.
    """

    uri: str

    def put(self, key: str, source: Path | bytes, sha256: str | None = None) -> None:
        """Write an object; `sha256` is the source's digest where the caller has it already."""

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object, or `length` of them from `offset`."""

    def get_to(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Fetch into a file, whole or not at all, checked against `sha256` or the object's own digest."""

    def stat(self, key: str) -> ObjectInfo | None:
        """Size and version, or None where there is no such object."""

    def holds(self, key: str, size: int, sha256: str) -> bool:
        """True where the object is there with exactly these bytes."""

    def exists(self, key: str) -> bool:
        """True where there is an object under this key."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, in any order, unfinished ones left out."""

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""

    def url(self, key: str) -> str:
        """The object's address: a path or s3://bucket/key."""


def check_key(key: str) -> str:
    """The key itself, where it stays inside the store; StoreError otherwise."""
    path = PurePosixPath(key)
    if not key or path.is_absolute() or ".." in path.parts or str(path) != key or "\\" in key or "\0" in key:
        raise StoreError(
            f"{key!r} is no key of a store: it must be a relative path such as images/train_0.jpg"
        )
    return key


def open_store(uri: str, settings: Settings | None = None) -> Store:
    """The store behind a URI; nothing is made or contacted before its first use.

    Args:
        uri: '/folder', 'file:///folder' or 's3://bucket/prefix'.
        settings: endpoint and credentials of S3; read from the environment when None.
    """
    from stocktake.folder_store import FolderStore

    if "://" not in uri:
        if not uri:
            raise StoreError("the store's URI is empty; give a folder or s3://bucket/prefix")
        return FolderStore(Path(uri))
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        from stocktake.s3_store import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), settings or load_settings())
    raise StoreError(
        f"{uri!r}: the scheme {parts.scheme!r} is unknown; use a folder, file:// or s3://bucket/prefix"
    )


def store_of(uri: str) -> tuple[Store, str]:
    """The store that a file or s3:// object is in, and its key there.

    Raises:
        SettingsError, StoreError: as `open_store`.
    """
    folder, _, name = uri.rpartition("/")
    return open_store(folder or ("/" if uri.startswith("/") else ".")), name


def join_uri(uri: str, *parts: str) -> str:
    """`uri` with further path parts, for folders and s3:// alike."""
    return "/".join([uri.rstrip("/"), *parts])


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a transfer did; `moved + skipped` is the number of objects asked for."""

    moved: int
    skipped: int
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object to fetch: into which file, with which digest where it is known."""

    key: str
    path: Path
    sha256: str | None = None


def put_files(
    store: Store,
    sources: Iterable[tuple[str, Path]],
    workers: int | None = None,
    progress: bool = True,
    description: str = "upload",
) -> TransferReport:
    """Put (key, file) pairs in parallel; what is there with the same digest is skipped and counted."""

    def put(source: tuple[str, Path]) -> tuple[int, bool]:
        key, path = source
        try:
            size, digest = path.stat().st_size, sha256_file(path)
        except OSError as error:
            raise StoreError(explain_os_error(error, path)) from error
        moved = not store.holds(key, size, digest)
        if moved:
            store.put(key, path, digest)
        return size, moved

    return _count(map_bounded(put, sources, _workers(workers)), progress, description)


def fetch_files(
    store: Store,
    wanted: Iterable[Wanted],
    workers: int | None = None,
    progress: bool = True,
    description: str = "fetch",
) -> TransferReport:
    """Fetch objects in parallel; a file that is there with the wanted digest is skipped and counted."""

    def fetch(item: Wanted) -> tuple[int, bool]:
        try:
            moved = not (item.sha256 and item.path.is_file() and sha256_file(item.path) == item.sha256)
            if moved:
                store.get_to(item.key, item.path, item.sha256)
            return item.path.stat().st_size, moved
        except OSError as error:
            raise StoreError(explain_os_error(error, item.path)) from error

    return _count(map_bounded(fetch, wanted, _workers(workers)), progress, description)


def _workers(workers: int | None) -> int:
    return workers or load_settings().transfer_workers


def _count(results: Iterator[tuple[int, bool]], progress: bool, description: str) -> TransferReport:
    moved = skipped = moved_bytes = 0
    with tqdm(desc=description, unit="B", unit_scale=True, disable=None if progress else True) as bar:
        for size, was_moved in results:
            if was_moved:
                moved, moved_bytes = moved + 1, moved_bytes + size
            else:
                skipped += 1
            bar.update(size)
            bar.set_postfix(files=moved + skipped, skipped=skipped, refresh=False)
    return TransferReport(moved, skipped, moved_bytes)

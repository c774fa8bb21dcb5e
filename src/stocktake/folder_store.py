"""A store in a folder of the local file system (or of whatever is mounted there)."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from stocktake.errors import StoreError
from stocktake.files import atomic_path, explain_os_error, is_part, sha256_file
from stocktake.storage import ObjectInfo, check_key


class FolderStore:
    """One file per object. Reading never writes; folders are made by the first put."""

    def __init__(self, root: Path):
        self.root = root.expanduser().absolute()
        self.uri = str(self.root)

    def put(self, key: str, source: Path | bytes, sha256: str | None = None) -> None:
        """Write through a hidden part file that is renamed when it is whole."""
        target = self._path(key)
        with self._explained(target), atomic_path(target) as part:
            if isinstance(source, bytes):
                part.write_bytes(source)
                return
            shutil.copyfile(source, part)
            if sha256 and sha256_file(part) != sha256:
                raise StoreError(f"{source}: it changed while it was copied to {target}; upload it again")

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of the file, or of a range of it."""
        path = self._path(key)
        with self._explained(path), path.open("rb") as file:
            file.seek(offset)
            return file.read(-1 if length is None else length)

    def get_to(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Copy, then check the copy."""
        source = self._path(key)
        with self._explained(source), source.open("rb") as reader:
            with self._explained(path), atomic_path(path) as part:
                with part.open("wb") as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)
                if sha256 and sha256_file(part) != sha256:
                    raise StoreError(
                        f"{source}: its SHA-256 is not {sha256}; the file was changed, ingest it again"
                    )

    def stat(self, key: str) -> ObjectInfo | None:
        """Size, and modification time as version."""
        path = self._path(key)
        with self._explained(path):
            return self._info(path)

    def holds(self, key: str, size: int, sha256: str) -> bool:
        """Compares the size first, then reads the file."""
        path = self._path(key)
        with self._explained(path):
            return path.is_file() and path.stat().st_size == size and sha256_file(path) == sha256

    def exists(self, key: str) -> bool:
        """True for a file."""
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Files below the root in sorted order, through links too; an absent root is an empty store."""
        folder = self.root / prefix.rpartition("/")[0]
        if prefix:
            check_key(prefix.rstrip("/"))
        with self._explained(folder):
            for path in sorted(_walk(folder)):
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix) and not is_part(path.name) and (found := self._info(path)):
                    yield found

    def delete(self, key: str) -> None:
        """Remove the file; its folder stays."""
        path = self._path(key)
        with self._explained(path):
            path.unlink(missing_ok=True)

    def url(self, key: str) -> str:
        """The file's absolute path."""
        return str(self._path(key))

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _info(self, path: Path) -> ObjectInfo | None:
        """None where there is no such file, as when it was deleted while its folder was listed."""
        if not path.is_file():
            return None
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        put_at = datetime.fromtimestamp(status.st_mtime, UTC)
        key = path.relative_to(self.root).as_posix()
        return ObjectInfo(key, status.st_size, str(status.st_mtime_ns), put_at)

    @contextlib.contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(explain_os_error(error, path)) from error


def _walk(folder: Path) -> Iterator[Path]:
    """Files at any depth; a folder that can't be read is an error, a loop of links is left."""
    if not folder.is_dir():
        return
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_fail, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(parent, name) for name in names)


def _fail(error: OSError) -> None:
    raise error

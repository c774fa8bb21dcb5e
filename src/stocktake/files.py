"""Files written whole or not at all, and their SHA-256."""

import contextlib
import errno
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stocktake.errors import StocktakeError, StoreError

PART_SUFFIX = ".part"
ROOM_MARGIN = 1.1  # small files beside the large ones, the file system's own needs


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden sibling of `path` to write to; it takes that name when the block ends without an error.

    Readers and other processes see the old file or the whole new one. Parent folders are made. A process
    that is killed leaves at worst a `.<name>.<random>.part` behind, which no listing of ours shows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:180]}.{secrets.token_hex(6)}{PART_SUFFIX}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def is_part(name: str) -> bool:
    """True for the name of a file that `atomic_path` has not finished."""
    return name.startswith(".") and name.endswith(PART_SUFFIX)


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        StoreError: it can't be read; says why and what to do.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(explain_os_error(error, path)) from error


def read_text(path: Path, error_class: type[StocktakeError]) -> str:
    """The text of a file in UTF-8.

    Raises:
        error_class: it can't be read, or is not UTF-8; names the file.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise error_class(explain_os_error(error, path)) from error
    except UnicodeDecodeError as error:
        raise error_class(f"{path}: not text in UTF-8 ({error}); save it as such") from error


def read_yaml(
    path: Path, error_class: type[StocktakeError], empty: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The mapping in a YAML file; `empty` is what a file without content means, by default an error.

    Raises:
        error_class: it can't be read, is not YAML, or is not a mapping; names the file.
    """
    try:
        content = yaml.safe_load(read_text(path, error_class))
    except yaml.YAMLError as error:
        raise error_class(f"{path}: not YAML ({error})") from error
    if content is None and empty is not None:
        return empty
    if not isinstance(content, dict):
        raise error_class(f"{path}: expected lines `key: value`, found {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return a sha256 over a file, or over the relative names and contents of a folder's files."""
    if path.is_file():
        return sha256_file(path)
    lines = (
        f"{sha256_file(file)}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def require_room(folder: Path, needed: float, advice: str) -> None:
    """Check that the disk of a folder, which need not exist yet, has room for `needed` bytes.

    Raises:
        StoreError: it has not; `advice` says what else one could do than to make room.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed * ROOM_MARGIN > free:
        raise StoreError(
            f"{folder}: the run needs {needed * ROOM_MARGIN / 1e9:.1f} GB there, {free / 1e9:.1f} GB"
            f" are free; make room, or {advice}"
        )


def explain_os_error(error: OSError, path: Path | str) -> str:
    """One line that says what the operating system refused and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk or the quota is full; free some space or choose another place"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: no permission; change its owner or mode, or choose another place"
    if error.errno == errno.EROFS:
        return f"{path}: this file system is read-only; choose another place"
    if error.errno == errno.ENOENT:
        return f"{path}: there is no such file or folder; check the path"
    return f"{path}: {error.strerror or error}"

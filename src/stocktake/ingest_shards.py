"""The work of an ingest shared out over machines: which part is whose, and what each of them has finished."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from stocktake.errors import DataError, SettingsError, StoreError
from stocktake.files import atomic_path, explain_os_error, read_file

FOLDER = "parts"

_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several workers that share the work, written K/N; `number` is 1-based."""

    number: int = 1
    count: int = 1

    def has(self, name: str) -> bool:
        """Whether what is called so is this worker's."""
        return self.count == 1 or shard_of(name, self.count) == self.number - 1


@dataclass
class Manifest:
    """What one worker has finished: it is written last, so a folder without it is not finished.

    `about` is JSON and the same for all workers, as it says what is read, and how.
    """

    about: dict[str, Any]
    shard: Shard


Finished = TypeVar("Finished", bound=Manifest)


def shard_of(name: str, shards: int) -> int:
    """Which of `shards` workers takes a name, 0-based; neighbouring numbers go to different ones."""
    number = int(name) if _DIGITS.fullmatch(name) else zlib.crc32(name.encode())
    return number % shards


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


def list_shards(count: int) -> list[str]:
    """All of `count` workers: ['1/2', '2/2'] for two."""
    return [f"{number}/{count}" for number in range(1, count + 1)]


def forget_manifests(out_dir: Path, shard: Shard) -> None:
    """Remove this worker's manifest and those of another number of workers."""
    for path in (out_dir / FOLDER).glob("shard-*.json"):
        number, _, count = path.stem.removeprefix("shard-").partition("-of-")
        if number == str(shard.number) or count != str(shard.count):
            path.unlink(missing_ok=True)


def write_manifest(out_dir: Path, manifest: Manifest) -> None:
    """Say that a worker has finished.

    Raises:
        StoreError: the folder can't be written.
    """
    shard = manifest.shard
    path = out_dir / FOLDER / f"shard-{shard.number}-of-{shard.count}.json"
    _write(path, json.dumps(asdict(manifest), indent=1).encode() + b"\n")


def find_manifests(folders: Iterable[Path], kind: type[Finished]) -> list[tuple[Path, Finished]]:
    """What all workers have left, each with its folder, in the order of their numbers.

    Args:
        folders: one per worker, or one for all.
        kind: what `write_manifest` was given.

    Raises:
        DataError: a worker is missing or has not finished, or they worked on different things.
    """
    found = [(folder, manifest) for folder in folders for manifest in _manifests(folder, kind)]
    if not found:
        raise DataError("no finished shard was found in the folders; run `ingest` with --shard first")
    about, count = found[0][1].about, found[0][1].shard.count
    for folder, manifest in found:
        if manifest.about != about or manifest.shard.count != count:
            differing = [key for key in about if manifest.about.get(key) != about[key]] or ["shard"]
            raise DataError(f"{folder}: its {', '.join(differing)} is not that of {found[0][0]}")
    by_number: dict[int, tuple[Path, Finished]] = {}
    for folder, manifest in found:
        if manifest.shard.number in by_number:
            twice = f"{manifest.shard.number}/{count}"
            raise DataError(
                f"shard {twice} is in {by_number[manifest.shard.number][0]} and {folder}; leave one"
            )
        by_number[manifest.shard.number] = (folder, manifest)
    missing = sorted(set(range(1, count + 1)) - by_number.keys())
    if missing:
        names = ", ".join(f"{number}/{count}" for number in missing)
        raise DataError(f"the shards {names} are missing or have not finished; run them (again)")
    return [by_number[number] for number in sorted(by_number)]


def write_gzip(path: Path, data: bytes) -> None:
    """Write a file that is read with gzip, whole or not at all; the same data make the same bytes.

    Raises:
        StoreError: the folder can't be written.
    """
    _write(path, gzip.compress(data, 1, mtime=0))


def _manifests(folder: Path, kind: type[Finished]) -> list[Finished]:
    manifests = []
    for path in sorted((folder / FOLDER).glob("shard-*.json")):
        try:
            content = json.loads(read_file(path))
            manifests.append(kind(**{**content, "shard": Shard(**content["shard"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: cannot be read ({error}); run its shard again") from error
    return manifests


def _write(path: Path, data: bytes) -> None:
    try:
        with atomic_path(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise StoreError(explain_os_error(error, path)) from error

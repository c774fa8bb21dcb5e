"""What ingest has read, a small file per bucket: a killed run continues there, shards are merged of them."""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stocktake.bins.abid_ids import bucket_order
from stocktake.bins.abid_source import Shard
from stocktake.errors import DataError, StoreError
from stocktake.files import atomic_path, explain_os_error, read_file

FOLDER = "parts"


@dataclass(slots=True)
class Bin:
    """One id of the source: a row of the index to be, or the reason why it is none."""

    id: str
    quantity: int | None = None
    skus: tuple[str, ...] = ()
    remarks: dict[str, str] = field(default_factory=dict)  # remark -> what was found
    reason: str = ""  # why it is left out, "" if it is not
    found: str = ""  # what the reason rests on
    key: str = ""  # of the object that holds the photo
    name: str = ""
    offset: int | None = None
    length: int = 0
    sha256: str = ""
    width: int = 0  # px after EXIF rotation
    height: int = 0


@dataclass
class Part:
    """The bins of one bucket in the order of their ids, and the fingerprint of what they were made from."""

    bucket: str
    fingerprint: str
    bins: list[Bin]
    stored: tuple[str, int, str] | None = None  # key, bytes and SHA-256 of the tar shard


@dataclass
class Manifest:
    """What one worker has finished: it is written last, so a folder without it is not finished.

    `about` is the same for all workers: source, store, name, licence, selection.
    """

    about: dict[str, Any]
    shard: Shard
    buckets: list[str]
    repeated: dict[str, str]
    other_files: int


def part_path(out_dir: Path, bucket: str) -> Path:
    """Where the part of a bucket lies."""
    return out_dir / FOLDER / f"bins-{bucket}.json.gz"


def write_part(out_dir: Path, part: Part) -> None:
    """Write a part, whole or not at all.

    Raises:
        StoreError: the folder can't be written.
    """
    _write(part_path(out_dir, part.bucket), asdict(part))


def read_part(out_dir: Path, bucket: str) -> Part | None:
    """Read a part; None where there is none, or a damaged one."""
    path = part_path(out_dir, bucket)
    if not path.is_file():
        return None
    try:
        content = json.loads(gzip.decompress(read_file(path)))
        bins = [Bin(**{**row, "skus": tuple(row["skus"])}) for row in content["bins"]]
        stored = content["stored"] and tuple(content["stored"])
        return Part(bucket, content["fingerprint"], bins, stored)
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        return None  # of another version, or damaged: read again from the source


def forget_manifests(out_dir: Path, shard: Shard) -> None:
    """Remove this worker's manifest and those of another number of workers."""
    for path in (out_dir / FOLDER).glob("shard-*.json"):
        number, _, count = path.stem.removeprefix("shard-").partition("-of-")
        if number == str(shard.number) or count != str(shard.count):
            path.unlink(missing_ok=True)


def write_manifest(out_dir: Path, manifest: Manifest) -> None:
    """Say that a worker has finished."""
    shard = manifest.shard
    path = out_dir / FOLDER / f"shard-{shard.number}-of-{shard.count}.json"
    try:
        with atomic_path(path) as part:
            part.write_text(json.dumps(asdict(manifest), indent=1) + "\n", "utf-8")
    except OSError as error:
        raise StoreError(explain_os_error(error, path)) from error


@dataclass
class Parts:
    """The parts of all workers, which lie in one folder or in one per worker."""

    about: dict[str, Any]
    places: dict[str, Path]  # bucket -> folder
    repeated: dict[str, str]
    other_files: int

    @classmethod
    def find(cls, folders: Iterable[Path]) -> "Parts":
        """Gather what workers have left.

        Raises:
            DataError: a worker is missing or has not finished, or they worked on different things.
        """
        found = [(folder, manifest) for folder in folders for manifest in _manifests(folder)]
        if not found:
            raise DataError("no finished shard was found in the folders; run `stocktake bins ingest` first")
        about, count = found[0][1].about, found[0][1].shard.count
        for folder, manifest in found:
            if manifest.about != about or manifest.shard.count != count:
                differing = [key for key in about if manifest.about.get(key) != about[key]] or ["shard"]
                raise DataError(f"{folder}: its {', '.join(differing)} is not that of {found[0][0]}")
        missing = sorted(set(range(1, count + 1)) - {manifest.shard.number for _, manifest in found})
        if missing:
            names = ", ".join(f"{number}/{count}" for number in missing)
            raise DataError(f"the shards {names} are missing or have not finished; run them (again)")
        places = {bucket: folder for folder, manifest in found for bucket in manifest.buckets}
        repeated = {key: text for _, manifest in found for key, text in manifest.repeated.items()}
        return cls(about, places, repeated, found[0][1].other_files)

    def bins(self) -> Iterator[Bin]:
        """All bins, in the order of their ids.

        Raises:
            DataError: a part is missing or damaged.
        """
        for bucket in sorted(self.places, key=bucket_order):
            part = read_part(self.places[bucket], bucket)
            if part is None:
                path = part_path(self.places[bucket], bucket)
                raise DataError(f"{path}: missing or damaged; run its shard again, which reads only that")
            yield from part.bins


def _manifests(folder: Path) -> list[Manifest]:
    manifests = []
    for path in sorted((folder / FOLDER).glob("shard-*.json")):
        try:
            content = json.loads(read_file(path))
            manifests.append(Manifest(**{**content, "shard": Shard(**content["shard"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: cannot be read ({error}); run its shard again") from error
    return manifests


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        with atomic_path(path) as part:
            part.write_bytes(gzip.compress(json.dumps(content).encode(), 1, mtime=0))
    except OSError as error:
        raise StoreError(explain_os_error(error, path)) from error

"""What ingest has read, a small file per bucket: a killed run continues there, shards are merged of them."""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stocktake import ingest_shards
from stocktake.bins.abid_ids import bucket_order
from stocktake.errors import DataError
from stocktake.files import read_file
from stocktake.ingest_shards import FOLDER, find_manifests, write_gzip


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
class Manifest(ingest_shards.Manifest):
    """What one worker has finished; `about` has source, store, name, licence and selection."""

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
    write_gzip(part_path(out_dir, part.bucket), json.dumps(asdict(part)).encode())


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
        found = find_manifests(folders, Manifest)
        about = found[0][1].about
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

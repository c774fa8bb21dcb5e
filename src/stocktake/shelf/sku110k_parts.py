"""What each worker of an ingest of shelf photos leaves: its photos; the first one annotation files, too."""

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stocktake import ingest_shards
from stocktake.errors import DataError
from stocktake.files import read_file
from stocktake.ingest_shards import FOLDER, Shard, find_manifests, write_gzip, write_manifest
from stocktake.shelf.sku110k_reading import Found
from stocktake.shelf.sku110k_rows import Sighting


@dataclass
class Manifest(ingest_shards.Manifest):
    """What one worker has finished.

    `about` has what decides the index, and the SHA-256 of each annotation file by its path in the source.
    """

    sightings: list[dict[str, Any]]
    beyond_limit: list[str]
    counts: dict[str, int]
    seconds: float


def write_part(
    out_dir: Path, about: dict[str, Any], shard: Shard, found: Found, annotation_files: Mapping[str, bytes]
) -> None:
    """Leave for `read_parts` what this worker has found.

    Raises:
        StoreError: the folder can't be written.
    """
    if shard.number == 1:  # all have read the same ones
        for path, data in annotation_files.items():
            write_gzip(_copy(out_dir, path), data)
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in sorted(annotation_files.items())}
    sightings = [asdict(sighting) for sighting in found.sightings.values()]
    done = (sightings, sorted(found.beyond_limit), dict(found.counts), found.seconds)
    write_manifest(out_dir, Manifest({**about, "annotations": digests}, shard, *done))


def read_parts(folders: Iterable[Path]) -> tuple[dict[str, Any], Found]:
    """What all workers were asked for, and what they have found.

    Raises:
        DataError: a worker is missing or has not finished, or they read different things; or an annotation
            file is missing or damaged.
    """
    manifests = find_manifests(folders, Manifest)
    first_folder, first = manifests[0]
    found = Found()
    for path, digest in first.about["annotations"].items():
        found.annotations.add(path, _read_copy(first_folder, path, digest, first.shard))
    for _, manifest in manifests:
        sightings = [Sighting(**record) for record in manifest.sightings]
        found.sightings |= {sighting.name: sighting for sighting in sightings}
        found.beyond_limit |= set(manifest.beyond_limit)
        found.counts.update(manifest.counts)
        found.seconds += manifest.seconds
    about = {key: value for key, value in first.about.items() if key != "annotations"}
    return about, found


def _copy(out_dir: Path, path: str) -> Path:
    """Where the copy of an annotation file lies; a source has each name once."""
    return out_dir / FOLDER / f"{path.rpartition('/')[2]}.gz"


def _read_copy(folder: Path, path: str, digest: str, shard: Shard) -> bytes:
    copy = _copy(folder, path)
    try:
        data = gzip.decompress(read_file(copy))
    except (OSError, EOFError, DataError):
        data = b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataError(f"{copy}: missing or damaged; run shard {shard.number}/{shard.count} again")
    return data

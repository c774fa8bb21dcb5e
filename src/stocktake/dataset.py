"""The index: one row per photo, a few MB for any number of images, and the way from a row to its bytes."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from stocktake.errors import DataError, StoreError
from stocktake.files import atomic_path, explain_os_error, sha256_file
from stocktake.parallel import map_bounded
from stocktake.settings import load_settings
from stocktake.storage import Store, open_store

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
DRAWN_LICENCE = "drawn by stocktake: no photo of anyone's"
INDEX_FILE = "index.parquet"
LICENCE_FILE = "licence.txt"  # beside photos of another licence than the public set's; its first line tells

_BOX = pa.list_(pa.float32(), 4)
_VOID = pa.struct([("box", _BOX), ("tier", pa.int32()), ("facings", pa.int32()), ("kind", pa.string())])
_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("boxes", pa.list_(_BOX), nullable=False),
        pa.field("voids", pa.list_(_VOID)),
        pa.field("quantity", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class TruthVoid:
    """One known void of a drawn photo."""

    box: tuple[float, float, float, float]  # xyxy px, in the frame of the photo's boxes
    tier: int  # 1 = lowest
    facings: int  # products that are missing side by side
    kind: str  # one of VOID_KINDS


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One row of index.parquet. Two photos compare as objects, since arrays have no single truth value."""

    name: str  # 'train_0.jpg', unique within an index
    uri: str  # key in the index's store, or absolute (a path, s3://bucket/key)
    length: int  # bytes
    sha256: str
    width: int  # px after EXIF rotation
    height: int
    split: str  # train | val | test; '' for bins that are not split yet
    group: str  # what a split must not tear apart
    boxes: np.ndarray  # (n, 4) float32 xyxy px in the photo's frame after EXIF rotation
    offset: int | None = None  # first byte within a tar shard; None: the object is the image
    voids: tuple[TruthVoid, ...] | None = None  # None: not known
    quantity: int | None = None  # items in a bin; None: not a bin


@dataclass
class DatasetIndex:
    """Photos, the store that their URIs are relative to, and what is known about the set.

    `metadata` is JSON: name, source, licence, left_out (reason -> names or number of photos that the ingest
    left out) and whatever a converter adds.
    """

    photos: list[Photo]
    store: str
    metadata: dict[str, Any] = field(default_factory=dict)
    _stores: dict[str, Store] = field(default_factory=dict, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the rows, the same in any order and wherever the store lies."""
        rows = sorted(_row_digest(photo) for photo in self.photos)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def split(self, name: str) -> list[Photo]:
        """The photos of one split.

        Raises:
            DataError: the name is not one of train, val and test.
        """
        if name not in SPLITS:
            raise DataError(f"unknown split {name!r}; it must be one of {', '.join(SPLITS)}")
        return [photo for photo in self.photos if photo.split == name]

    def write(self, path: Path) -> None:
        """Write index.parquet, whole or not at all.

        Raises:
            DataError: a row can't be written (no disk space, no permission, boxes of a wrong shape), or two
                photos have one name.
        """
        _refuse_repeated_names(self.photos, path)
        table = _to_table(self.photos)
        about = {"schema_version": SCHEMA_VERSION, "store": self.store, "metadata": self.metadata}
        table = table.replace_schema_metadata({b"stocktake": json.dumps(about).encode()})
        try:
            with atomic_path(path) as part:
                pq.write_table(table, part, compression="zstd")
        except OSError as error:
            raise DataError(explain_os_error(error, path)) from error

    @classmethod
    def read(cls, path: Path) -> "DatasetIndex":
        """Read index.parquet.

        Raises:
            DataError: there is no such file, it is not an index of this schema, or two photos have one name.
        """
        if not path.is_file():
            raise DataError(
                f"{path}: there is no such index; make one with `stocktake shelf ingest` or `stocktake bins"
                " ingest`"
            )
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a parquet file that can be read ({error}); ingest again") from error
        about = _read_about(path, table)
        photos = _to_photos(table)
        _refuse_repeated_names(photos, path)
        return cls(photos, about["store"], about["metadata"])

    def locate(self, photo: Photo) -> tuple[Store, str]:
        """The store and key of a photo's object."""
        folder, key = self.store, photo.uri
        if "://" in key or key.startswith("/"):
            folder, _, key = key.rpartition("/")
        if folder not in self._stores:
            self._stores[folder] = open_store(folder or "/")
        return self._stores[folder], key


def read_photo_bytes(index: DatasetIndex, photo: Photo) -> bytes:
    """The encoded image, exactly as it was ingested.

    Raises:
        DataError: its SHA-256 is not the index's.
        StoreError: it can't be read.
    """
    store, key = index.locate(photo)
    data = store.get(key) if photo.offset is None else store.get(key, photo.offset, photo.length)
    if hashlib.sha256(data).hexdigest() != photo.sha256:
        raise DataError(f"{store.url(key)}: {photo.name} was changed since it was ingested; ingest it again")
    return data


def fetch_photos(
    index: DatasetIndex,
    photos: Sequence[Photo],
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Fetch photos in parallel into a cache that is named by content.

    Several processes may share the cache: a file appears under its name when all of it is there. What is
    there already is checked, not fetched; a damaged file is replaced. Never write to the returned files.

    Args:
        index: where the photos are.
        photos: rows of the index.
        cache_dir: the environment's STOCKTAKE_CACHE when None.
        workers: threads; at least eight when None.
        progress: show a bar on a terminal.

    Returns:
        `cache_dir/<sha256>` for each photo, in the order of `photos`.

    Raises:
        DataError: a photo's bytes are not those of the index.
        StoreError: a photo can't be read or the cache not be written.
    """
    settings = load_settings()
    folder = (cache_dir or settings.cache).absolute()
    by_digest = {photo.sha256: photo for photo in photos}

    def fetch(photo: Photo) -> int:
        path = folder / photo.sha256
        try:
            if not (path.is_file() and sha256_file(path) == photo.sha256):
                data = read_photo_bytes(index, photo)
                with atomic_path(path) as part:
                    part.write_bytes(data)
        except OSError as error:
            raise StoreError(explain_os_error(error, path)) from error
        return photo.length

    done = map_bounded(fetch, by_digest.values(), workers or settings.transfer_workers)
    total = sum(photo.length for photo in by_digest.values())
    with tqdm(
        desc="photos", total=total, unit="B", unit_scale=True, disable=None if progress else True
    ) as bar:
        for length in done:
            bar.update(length)
    return [folder / photo.sha256 for photo in photos]


def _refuse_repeated_names(photos: list[Photo], path: Path) -> None:
    """Reports, label files and predictions go by name, so one photo would stand for the other."""
    repeated = [name for name, count in Counter(photo.name for photo in photos).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: {len(repeated)} name{'s are' if len(repeated) > 1 else ' is'} given to more than one "
            f"photo, the first is {repeated[0]}; "
            "give every photo its own name, for instance with its split or folder in front"
        )


def _read_about(path: Path, table: pa.Table) -> dict[str, Any]:
    raw = (table.schema.metadata or {}).get(b"stocktake")
    about = json.loads(raw) if raw else {}
    if about.get("schema_version") != SCHEMA_VERSION:
        found = about.get("schema_version", "none")
        raise DataError(f"{path}: index schema {SCHEMA_VERSION} was expected, found {found}; ingest again")
    if not table.schema.equals(_SCHEMA):
        differing = sorted(set(table.schema.names) ^ set(_SCHEMA.names)) or [
            name for name in _SCHEMA.names if table.schema.field(name) != _SCHEMA.field(name)
        ]
        raise DataError(f"{path}: the columns {', '.join(differing)} are not those of an index; ingest again")
    return about


def _boxes(photo: Photo) -> np.ndarray:
    boxes = np.asarray(photo.boxes, np.float32)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{photo.name}: boxes must have the shape (n, 4), found {boxes.shape}")
    return boxes


def _to_table(photos: list[Photo]) -> pa.Table:
    """One row per photo; boxes go over as one array, since millions of them would be slow as Python lists."""
    boxes = [_boxes(photo) for photo in photos]
    ends = np.cumsum([0, *map(len, boxes)], dtype=np.int32)
    numbers = pa.array(np.concatenate([np.zeros((0, 4), np.float32), *boxes]).ravel())
    column = pa.ListArray.from_arrays(pa.array(ends), pa.FixedSizeListArray.from_arrays(numbers, 4))
    columns = {name: [getattr(photo, name) for photo in photos] for name in _SCHEMA.names if name != "boxes"}
    columns["voids"] = [photo.voids and [asdict(void) for void in photo.voids] for photo in photos]
    arrays = [
        column if name == "boxes" else pa.array(columns[name], _SCHEMA.field(name).type)
        for name in _SCHEMA.names
    ]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _to_photos(table: pa.Table) -> list[Photo]:
    column = table.column("boxes").combine_chunks()
    numbers = column.flatten().flatten().to_numpy().reshape(-1, 4)
    start = 0
    photos = []
    rows = table.drop_columns("boxes").to_pylist()
    for row, count in zip(rows, column.value_lengths().to_pylist(), strict=True):
        boxes, start = numbers[start : start + count], start + count
        if row["voids"] is not None:
            row["voids"] = tuple(TruthVoid(**{**void, "box": tuple(void["box"])}) for void in row["voids"])
        photos.append(Photo(**row, boxes=boxes.copy()))
    return photos


def _row_digest(photo: Photo) -> str:
    """SHA-256 of what a model can learn from a row; where its bytes lie is left out."""
    voids = None
    if photo.voids is not None:
        voids = sorted(
            [*np.asarray(void.box, np.float32).tolist(), void.tier, void.facings, void.kind]
            for void in photo.voids
        )
    facts = [photo.name, photo.length, photo.sha256, photo.width, photo.height, photo.split, photo.group]
    facts += [photo.quantity, voids]
    boxes = np.ascontiguousarray(_boxes(photo), "<f4").view("<f4,<f4,<f4,<f4")
    return hashlib.sha256(json.dumps(facts).encode() + np.sort(boxes, axis=0).tobytes()).hexdigest()

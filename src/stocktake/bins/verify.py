"""Is everything that an index names in the store, byte for byte?"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from stocktake.dataset import INDEX_FILE, DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.parallel import map_bounded
from stocktake.setting_checks import expect_whole
from stocktake.settings import load_settings
from stocktake.storage import Store, open_store


@dataclass
class VerifyReport:
    """What was found; `expected` = `present` + `missing` + `wrong`, in photos."""

    indexes: list[str] = field(default_factory=list)  # that told what to expect, and where if not beside them
    expected: int = 0
    present: int = 0
    # (object, photo), once per index that names it; data sets may have photos of the same name
    missing: list[tuple[str, str]] = field(default_factory=list)  # the object is not there
    wrong: list[tuple[str, str]] = field(default_factory=list)  # its bytes are others

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing or wrong."""
        return not self.missing and not self.wrong

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.expected:,} expected, {self.present:,} present, {len(self.missing):,} missing,"
            f" {len(self.wrong):,} with a wrong digest"
        )


def verify(store_uri: str, workers: int | None = None, progress: bool = True) -> VerifyReport:
    """Read every photo that the indexes of a store name, and compare its SHA-256.

    Args:
        store_uri: a store that ingest copied photos to, or a data set in it, or a folder that ingest wrote.
            Photos are looked for beside the index.parquet that names them where any of them are, so a copy of
            a store can be verified too, and otherwise where it says. Or an index.parquet itself, whose photos
            are looked for where it says.
        workers: threads; at least eight when None.
        progress: show a bar on a terminal.

    Raises:
        SettingsError: `workers` is not in 1..1024.
        DataError: there is no index.
        StoreError: the store can't be read.
    """
    report = VerifyReport()
    if workers is not None:
        expect_whole("workers", workers, 1, 1024)
    workers = workers or load_settings().transfer_workers
    indexes = list(_find_indexes(store_uri))
    if not indexes:
        raise DataError(
            f"{store_uri}: no {INDEX_FILE} in it tells what to expect; give a store that"
            f" `stocktake bins ingest --copy` wrote to, or the {INDEX_FILE} of an ingest"
        )
    total = sum(len(index.photos) for _, index in indexes)
    with tqdm(desc="verify", total=total, unit="photo", disable=None if progress else True) as bar:
        for name, index in indexes:
            report.indexes.append(name)
            for photo, problem in _check_all(index, workers):
                store, key = index.locate(photo)
                report.expected += 1
                report.present += not problem
                if problem:
                    found = report.missing if problem == "missing" else report.wrong
                    found.append((store.url(key), photo.name))
                bar.update()
    return report


def _find_indexes(uri: str) -> Iterator[tuple[str, DatasetIndex]]:
    if uri.endswith(".parquet") and "://" not in uri:
        yield uri, DatasetIndex.read(Path(uri))
        return
    store = open_store(uri)
    keys = {found.key for found in store.list()}
    with tempfile.TemporaryDirectory() as folder:
        for key in sorted(key for key in keys if key.rpartition("/")[2] == INDEX_FILE):
            path = Path(folder) / INDEX_FILE
            store.get_to(key, path)
            index = DatasetIndex.read(path)
            name, beside = store.url(key), key.removesuffix(INDEX_FILE)
            if any(beside + photo.uri in keys for photo in index.photos):
                index.store = name.rpartition("/")[0]
            elif index.store != name.rpartition("/")[0]:  # in place, or in the store of this ingest
                name = f"{name}, with photos in {index.store}"
            yield name, index


def _check_all(index: DatasetIndex, workers: int) -> Iterator[tuple[Photo, str]]:
    """Each photo with what is wrong with it, '' if nothing is; a tar shard is read once."""
    objects: dict[str, list[Photo]] = {}
    for photo in index.photos:
        objects.setdefault(photo.uri, []).append(photo)

    def check(photos: Sequence[Photo]) -> list[tuple[Photo, str]]:
        store, key = index.locate(photos[0])
        return list(zip(photos, _problems(store, key, photos), strict=True))

    for checked in map_bounded(check, objects.values(), workers):
        yield from checked


def _problems(store: Store, key: str, photos: Sequence[Photo]) -> list[str]:
    """What is wrong with the photos of one object."""
    found = store.stat(key)
    if found is None:
        return ["missing"] * len(photos)
    data = memoryview(store.get(key, 0, found.size))  # a range, for which the store compares no digest
    problems = []
    for photo in photos:
        part = data if photo.offset is None else data[photo.offset : photo.offset + photo.length]
        problems.append("" if hashlib.sha256(part).hexdigest() == photo.sha256 else "wrong")
    return problems

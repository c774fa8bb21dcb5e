"""Photos of bins as batches: decoded and fitted into squares once, then read ahead of the training.

What a photo looks like in an epoch is a function of (seed, epoch, row) alone, and the order of (seed, epoch):
not of batch size, ranks, threads, or where a training was resumed.
"""

import errno
import hashlib
import logging
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stocktake.bins.augmentation import augment, draw_change
from stocktake.bins.fitting import FITTING, fit_bin
from stocktake.dataset import DatasetIndex, Photo, fetch_photos
from stocktake.errors import DataError, StoreError, UnsupportedImage
from stocktake.files import ROOM_MARGIN, atomic_path, explain_os_error, require_room
from stocktake.images import Pixels, decode_photo
from stocktake.parallel import map_bounded
from stocktake.settings import load_settings

log = logging.getLogger(__name__)

Rows = NDArray[np.int64]


class Squares(Protocol):
    """Photos fitted into squares, by row."""

    def read(self, row: int) -> Pixels:
        """(S, S, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True)
class SquareFile:
    """Squares one after the other in a file; the system's page cache keeps in memory what fits there.

    Read with pread: no page of the file counts as this process's memory, and threads don't wait for another.
    """

    file: FileIO
    img: int

    def read(self, row: int) -> Pixels:
        """(S, S, 3) uint8 RGB."""
        square = np.empty((self.img, self.img, 3), np.uint8)
        os.preadv(self.file.fileno(), [square.data], row * square.nbytes)
        return square


@dataclass(frozen=True, slots=True)
class PhotoFiles:
    """Photos that are decoded whenever they are asked for."""

    paths: Sequence[Path]
    names: Sequence[str]
    img: int

    def read(self, row: int) -> Pixels:
        """(S, S, 3) uint8 RGB.

        Raises:
            DataError: the photo can't be decoded; names it.
        """
        try:
            return fit_bin(decode_photo(self.paths[row].read_bytes()), self.img).square
        except UnsupportedImage as error:
            raise DataError(f"{self.names[row]}: {error}; ingest it again") from error
        except OSError as error:
            raise StoreError(explain_os_error(error, self.paths[row])) from error


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """The photos of one split as a training sees them."""

    squares: Squares
    names: tuple[str, ...]
    targets: Rows  # (n,) class indexes

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Batch:
    """Photos of one step."""

    number: int  # within the epoch, from 0
    rows: Rows
    images: Pixels  # (n, S, S, 3) RGB
    targets: Rows  # (n,)


def open_photos(
    index: DatasetIndex,
    split: str,
    classes: Sequence[int],
    img: int,
    squares: str = "",
    progress: bool = True,
) -> PhotoSet:
    """Fetch the photos of a split and decode them into squares.

    Args:
        index: whose photos all have a quantity among `classes`.
        split: train, val or test.
        classes: counts, ascending.
        img: side of the squares, px.
        squares: 'disk' = kept in a file in the cache, which later trainings on these photos find there;
            'off' = decoded each time they are read; '' = kept if the disk has room.
        progress: show a bar on a terminal.

    Raises:
        DataError: a photo is not what the index says, or can't be decoded.
        StoreError: a photo can't be read, or there is no room for what 'disk' asks.
    """
    photos = index.split(split)
    names = tuple(photo.name for photo in photos)
    cache_dir = load_settings().cache.absolute()
    place = {count: number for number, count in enumerate(classes)}
    targets = np.array([place[photo.quantity] for photo in photos if photo.quantity is not None], np.int64)
    target = squares_path(photos, img, cache_dir)
    needed = len(photos) * 3 * img**2
    # one of another size was cut short by a crash of the machine, and is written again
    if squares == "off" or not target.is_file() or target.stat().st_size != needed:
        files = PhotoFiles(fetch_photos(index, photos, cache_dir, progress=progress), names, img)
        if squares == "disk":
            require_room(target, needed, "decode photos each time: squares 'off'")
        if squares == "off" or (squares == "" and not _has_room(target, needed)):
            log.info("decoding %d photos each time they are used: %s", len(photos), target.parent)
            return PhotoSet(files, names, targets)
        _write_squares(files, target, progress)
    return PhotoSet(SquareFile(FileIO(target), img), names, targets)


def squares_path(photos: Sequence[Photo], img: int, cache_dir: Path) -> Path:
    """Where the squares of these photos, in this order, are kept."""
    digest = hashlib.sha256("\n".join(photo.sha256 for photo in photos).encode()).hexdigest()
    return cache_dir / "squares" / f"{digest[:32]}-{img}-{FITTING}.rgb"


def epoch_rows(count: int, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """The rows of each batch of an epoch: all of them once, in an order of the epoch's own.

    There are as few batches as `batch_size` allows, and their sizes differ by one at most, so that no photo
    is left out and no batch is a remainder of one.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return np.array_split(order, math.ceil(count / batch_size))


def make_batch(
    photos: PhotoSet, number: int, rows: Rows, seed: int = 0, epoch: int = 0, strength: float = 0.0
) -> Batch:
    """Read the photos of a step; with `strength` over 0 each is augmented in the epoch's own way."""
    squares = []
    for row in rows:
        square = photos.squares.read(int(row))
        if strength:
            square = augment(square, draw_change(np.random.default_rng((seed, epoch, int(row))), strength))
        squares.append(square)
    return Batch(number, rows, np.stack(squares), photos.targets[rows])


def read_ahead(make: Callable[[int], Batch], count: int, workers: int) -> Iterator[Batch]:
    """Yield `make(0)` … `make(count - 1)`, made by threads while the caller is busy with earlier ones."""
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for number in range(count + workers):
            if number < count:
                waiting.append(pool.submit(make, number))
            if number >= workers:
                yield waiting.popleft().result()


class Waits:
    """Batches, and how long their reader has waited for them.

    Attributes:
        seconds: spent waiting so far.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.seconds = 0.0
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            asked = time.perf_counter()
            batch = next(self._batches, None)
            self.seconds += time.perf_counter() - asked
            if batch is None:
                return
            yield batch


def _write_squares(files: PhotoFiles, target: Path, progress: bool) -> None:
    stride = 3 * files.img**2
    try:
        with atomic_path(target) as part, part.open("wb") as file:

            def write(row: int) -> None:
                if os.pwrite(file.fileno(), files.read(row).data, row * stride) != stride:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            rows = range(len(files.paths))
            done = map_bounded(write, rows, load_settings().cpu_workers)
            bar = tqdm(done, "decode", len(rows), unit="photo", disable=None if progress else True)
            for _ in bar:
                pass
    except OSError as error:
        raise StoreError(explain_os_error(error, target)) from error


def _has_room(target: Path, needed: int) -> bool:
    there = next(path for path in target.parents if path.exists())
    return needed * ROOM_MARGIN <= shutil.disk_usage(there).free

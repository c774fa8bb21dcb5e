"""One pass over the photos of an index: each is read and decoded once, in threads, with a progress bar."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.errors import DataError, UnsupportedImage
from stocktake.images import Pixels, decode_photo
from stocktake.parallel import map_bounded
from stocktake.settings import load_settings

MAX_WORKERS = 8

Result = TypeVar("Result")


def read_pixels(index: DatasetIndex, photo: Photo) -> Pixels:
    """The photo as (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: it can't be decoded, or has another size than the index says.
    """
    try:
        pixels = decode_photo(read_photo_bytes(index, photo))
    except UnsupportedImage as error:
        raise DataError(f"{photo.name}: {error}; ingest again to leave it out") from error
    height, width = pixels.shape[:2]
    if (width, height) != (photo.width, photo.height):
        raise DataError(
            f"{photo.name} has {width}x{height} px, the index says {photo.width}x{photo.height}; ingest again"
        )
    return pixels


def pass_workers(workers: int | None = None) -> int:
    """Threads of a pass: one per core, eight at most, when None."""
    return workers or min(load_settings().cpu_workers, MAX_WORKERS)


def each_photo(
    work: Callable[[Photo], Result], photos: Sequence[Photo], workers: int | None, progress: bool, label: str
) -> list[Result]:
    """`work` over photos in threads, see `pass_workers`; in the order of `photos`."""
    results: dict[int, Result] = {}
    numbered = map_bounded(
        lambda number: (number, work(photos[number])),
        range(len(photos)),
        pass_workers(workers),
    )
    with tqdm(desc=label, total=len(photos), unit="photo", disable=None if progress else True) as bar:
        for number, result in numbered:
            results[number] = result
            bar.update()
    return [results[number] for number in range(len(photos))]

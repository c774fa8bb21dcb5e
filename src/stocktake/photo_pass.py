"""One pass over the photos of an index: each is read and decoded once, in threads, with a progress bar."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.errors import DataError, UnsupportedImage
from stocktake.images import DecodedPhoto, Pixels, ReducedPhoto, decode_reduced
from stocktake.parallel import map_bounded
from stocktake.settings import load_settings

MAX_WORKERS = 8

Result = TypeVar("Result")
Decoded = TypeVar("Decoded", DecodedPhoto, ReducedPhoto)


def decode_known(photo: Photo, data: bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
    """What `decode` makes of the file of a photo, if that is what the index says.

    Raises:
        DataError: it can't be decoded, or has another size than the index says.
    """
    try:
        decoded = decode(data)
    except UnsupportedImage as error:
        raise DataError(f"{photo.name}: {error}; ingest again to leave it out") from error
    if (decoded.width, decoded.height) != (photo.width, photo.height):
        raise DataError(
            f"{photo.name} has {decoded.width}x{decoded.height} px, the index says"
            f" {photo.width}x{photo.height}; ingest again"
        )
    return decoded


def read_pixels(index: DatasetIndex, photo: Photo) -> Pixels:
    """The whole photo as (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: as `decode_known`.
    """
    return whole_pixels(photo, read_photo_bytes(index, photo))


def whole_pixels(photo: Photo, data: bytes) -> Pixels:
    """`read_pixels` of a file that is read already."""
    return decode_known(photo, data, partial(decode_reduced, least_side=None)).pixels


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

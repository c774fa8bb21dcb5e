"""Photos per second that a GPU decodes, beside all cores of its machine, and how far their pixels differ.

    python -m benchmarks.gpu.decode
    python -m benchmarks.gpu.decode --device cpu --seconds 1

Drawn photos of 12 megapixels, of 1080p and of bins. Ours is `gpu_decoding.decode_batch` as a server calls it,
from bytes to reduced photos in host memory, in batches of 1, 8 and 32 and from 1, 2 and 4 threads. Beside it
stand nvImageCodec alone, which leaves whole photos on the GPU and is the limit, and `images.decode_reduced`
on all cores. The ways take turns, and of the rounds the median counts. Goals: half of the limit, and more
than all cores on photos of 1080p and up. `--device cpu` tries the script itself.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np

from benchmarks.decode import drawn_photos
from stocktake.gpu_decoding import BatchDecoder, NvJpegDecoder, decode_with
from stocktake.images import ReducedPhoto, decode_reduced
from stocktake.photo_header import MAX_PIXELS

BATCHES, THREADS = (1, 8, 32), (1, 2, 4)
CORES = len(os.sched_getaffinity(0))
Work = Callable[[list[bytes]], object]


def main() -> None:
    """Draw, measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--device", default="gpu", choices=("gpu", "cpu"))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (default: %(default)s)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    decoder = NvJpegDecoder() if options.device == "gpu" else None
    for name, least_side, photos in drawn_photos():
        print(f"{name}, {np.mean([len(data) for data in photos]) / 1e6:.2f} MB on average")
        print_differences(decoder, photos, least_side)
        print_speeds(ways_to_decode(decoder, least_side), photos, options.seconds, options.rounds)


def ways_to_decode(decoder: BatchDecoder | None, least_side: int) -> dict[str, tuple[Work, int, int]]:
    """By name: what is done with a batch, its size, and in how many threads."""
    ours: Work = lambda batch: decode_with(decoder, batch, least_side, MAX_PIXELS)  # noqa: E731
    one: Work = lambda batch: [decode_reduced(data, least_side) for data in batch]  # noqa: E731
    ways = {f"all {CORES} cores": (one, 1, CORES)}
    for size in BATCHES:
        for threads in THREADS:
            ways[f"ours, batches of {size}, {threads} threads"] = (ours, size, threads)
    if decoder is not None:
        from nvidia import nvimgcodec

        bare: Any = nvimgcodec.Decoder()
        params: Any = nvimgcodec.DecodeParams(apply_exif_orientation=False)
        ways["nvImageCodec alone"] = (partial(bare.decode, params=params), max(BATCHES), 1)
    return ways


def print_speeds(
    ways: dict[str, tuple[Work, int, int]], photos: list[bytes], seconds: float, rounds: int
) -> None:
    """Photos per second of each way, the ways in turn."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (work, size, threads) in ways.items():
            batch = list(islice(cycle(photos), size))
            found[name].append(photos_per_second(partial(work, batch), size, threads, seconds))
    for name, speeds in found.items():
        print(
            f"  {name:32} {statistics.median(speeds):8.1f} photos/s ({min(speeds):.1f} to {max(speeds):.1f})"
        )


def photos_per_second(work: Callable[[], object], size: int, threads: int, seconds: float) -> float:
    """Over all threads, after one run that warms up."""

    def repeat(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            work()
            done += size
        return done

    work()
    begun = time.perf_counter()
    end = begun + seconds
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(repeat, range(threads)))
    return done / (time.perf_counter() - begun)


def print_differences(decoder: BatchDecoder | None, photos: list[bytes], least_side: int) -> None:
    """Grey levels between ours and the CPU's pixels, of whole and of reduced photos."""
    for what, side in (("whole", None), ("as served", least_side)):
        gaps = []
        for data, photo in zip(photos, decode_with(decoder, photos, side, MAX_PIXELS), strict=True):
            assert isinstance(photo, ReducedPhoto), photo
            gaps.append(np.abs(photo.pixels.astype(np.int16) - decode_reduced(data, side).pixels).ravel())
        all_gaps = np.concatenate(gaps)
        print(
            f"  {what}: {all_gaps.mean():.2f} grey levels from the CPU's pixels on average,"
            f" {np.quantile(all_gaps, 0.99):.0f} at the 99th percentile, {all_gaps.max()} at most"
        )


if __name__ == "__main__":
    main()

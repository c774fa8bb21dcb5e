"""Decoding for a model beside decoding whole photos with OpenCV and Pillow, and what it costs in accuracy.

    python -m benchmarks.decode --photos 60
    python -m benchmarks.decode --rounds 0 --data SKU110K_fixed

Time: drawn photos of 12 megapixels, of 1080p and of bins, one thread, the ways in turn; of each photo the
fastest round of each way counts, so that other work on the machine counts little, and of the photos the
median. Accuracy: the starter weights on drawn shelves, or on the test photos of a folder in SKU-110K's
layout, from the whole photo and as it is served. A third row shows how much such figures move by themselves:
the whole photo without its first row and column of pixels.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from stocktake.bins import fitting
from stocktake.boxes import FloatArray
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.images import (
    DecodedPhoto,
    ReducedPhoto,
    decode_photo,
    decode_reduced,
    encode_jpeg,
)
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.detector import MODEL_NEEDS, ShelfDetector
from stocktake.shelf.examination import Sight
from stocktake.shelf.export import export_model
from stocktake.shelf.photo_voids import VOIDS_NEED
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.void_scoring import VoidSet, above, score_voids, void_curve
from stocktake.shelf.weights import starter_path
from stocktake.synthetic.bin_settings import BinDrawSettings
from stocktake.synthetic.bins import draw_bin
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf, write_dataset

SHELF_SIZE, BIN_SIZE = 640, 224  # px of the models' squares
LARGE = DrawSettings(width=2448, height=3264, landscape=0.0)
TIMED = 4  # photos of each kind


def main() -> None:
    """Draw, measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--rounds", type=int, default=15, help="of each way (default: %(default)s)")
    parser.add_argument("--photos", type=int, default=60, help="drawn for accuracy (default: %(default)s)")
    parser.add_argument("--img", type=int, nargs="+", default=[416, 640], help="px of the model's square")
    parser.add_argument(
        "--data", type=Path, nargs="+", help="folders in SKU-110K's layout, instead of drawing"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.rounds:
        for name, least_side, photos in drawn_photos():
            print_times(name, photos, least_side, options.rounds)
    with tempfile.TemporaryDirectory(prefix="decode-") as scratch:
        folder = Path(scratch)
        sources = options.data or [write_dataset(folder / "drawn", {"test": options.photos}, LARGE)]
        models = [export_model(starter_path(), folder / str(img), img) for img in options.img]
        for number, source in enumerate(sources):
            ingest(str(source), folder / f"ingest-{number}", progress=False)
            index = DatasetIndex.read(folder / f"ingest-{number}" / "index.parquet")
            for model_dir in models:
                print_accuracy(source.name, ShelfDetector.load(model_dir), index)


def drawn_photos() -> Iterator[tuple[str, int, list[bytes]]]:
    """Kinds of photos by name, what their model needs of the longer side, and a few files of each."""
    needs = max(MODEL_NEEDS * SHELF_SIZE, VOIDS_NEED)
    for name, width, height in (("12 MP", 3024, 4032), ("1080p", 1920, 1080)):
        settings = DrawSettings(width=width, height=height, landscape=0.0)
        shelves = [draw_shelf(np.random.default_rng(number), settings) for number in range(TIMED)]
        yield name, needs, [encode_jpeg(shelf.photo, 88) for shelf in shelves]
    bins = [draw_bin(np.random.default_rng(number), BinDrawSettings()) for number in range(TIMED)]
    yield "bin", fitting.MODEL_NEEDS * BIN_SIZE, [encode_jpeg(one.photo, one.jpeg_quality) for one in bins]


def print_times(name: str, photos: list[bytes], least_side: int, rounds: int) -> None:
    """Milliseconds of each way, and ratios to ours."""
    ways: dict[str, Callable[[bytes], object]] = {
        "ours": partial(decode_reduced, least_side=least_side),
        "OpenCV": decode_photo,
        "Pillow": lambda data: np.asarray(
            ImageOps.exif_transpose(Image.open(io.BytesIO(data)).convert("RGB"))
        ),
    }
    best = {way: [float("inf")] * len(photos) for way in ways}
    for _ in range(rounds):
        for number, data in enumerate(photos):
            for way, decode in ways.items():
                begun = time.perf_counter()
                decode(data)
                best[way][number] = min(best[way][number], 1000 * (time.perf_counter() - begun))
    middle = {way: statistics.median(times) for way, times in best.items()}
    first = decode_reduced(photos[0], least_side)
    print(
        f"{name}, {first.width}x{first.height}, {len(photos[0]) / 1e6:.2f} MB, ours at 1/{first.reduction}: "
        + ", ".join(f"{way} {ms:.1f} ms ({ms / middle['ours']:.2f})" for way, ms in middle.items())
    )


def decode_with_pillow(data: bytes) -> np.ndarray:
    """The whole photo, upright, (H, W, 3) uint8 RGB."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def print_accuracy(name: str, detector: ShelfDetector, index: DatasetIndex) -> None:
    """AP of products and F1 of voids on the test photos, by way of decoding."""
    photos = index.split("test")
    seen: dict[str, list[tuple[tuple[FloatArray, FloatArray], VoidSet]]] = {}
    for photo in photos:
        for way, (decoded, moved) in ways_to_see(detector, read_photo_bytes(index, photo)).items():
            seen.setdefault(way, []).append(look(detector, decoded, moved))
    truth = [VoidSet.of(photo.voids or ()) for photo in photos]
    known = sum(int((~voids.ignored).sum()) for voids in truth)
    products = sum(len(photo.boxes) for photo in photos)
    print(
        f"{name} at {detector.card.input_size} px: {len(photos)} photos, {products} products, {known} voids"
    )
    for way, found in seen.items():
        print(f"  {way:15} {figures(photos, truth, found, detector.void_settings.min_confidence)}")


def ways_to_see(detector: ShelfDetector, data: bytes) -> dict[str, tuple[DecodedPhoto, int]]:
    """A photo decoded in each way, and by how many pixels it was moved to the left and up."""
    pixels = decode_photo(data)
    return {
        "whole": (detector.see(ReducedPhoto.of(pixels)), 0),
        "as served": (detector.decode(data), 0),
        "whole, cut by 1": (detector.see(ReducedPhoto.of(np.ascontiguousarray(pixels[1:, 1:]))), 1),
    }


def look(
    detector: ShelfDetector, decoded: DecodedPhoto, moved: int
) -> tuple[tuple[FloatArray, FloatArray], VoidSet]:
    """Candidates for AP and voids at any confidence, in px of the photo."""
    sight = Sight.of(detector, decoded)
    boxes, scores = sight.candidates()
    voids = sight.voids_at_any_confidence()
    return (boxes + moved, scores), VoidSet(
        voids.boxes + moved, voids.facings, voids.confidence, voids.ignored
    )


def figures(
    photos: list[Photo],
    truth: list[VoidSet],
    found: list[tuple[tuple[FloatArray, FloatArray], VoidSet]],
    min_confidence: float,
) -> str:
    """The scores of one way."""
    scores = score_detections([photo.boxes for photo in photos], [boxes for boxes, _ in found])
    voids = [sure for _, sure in found]
    best = void_curve(voids, truth).f1.max(initial=0)
    served = score_voids(above(voids, min_confidence), truth)
    return (
        f"AP {scores.ap:.4f}, AP50 {scores.ap50:.4f}, AP75 {scores.ap75:.4f}; voids: F1 {served.f1:.4f} at"
        f" confidence {min_confidence}, {best:.4f} at best"
    )


if __name__ == "__main__":
    main()

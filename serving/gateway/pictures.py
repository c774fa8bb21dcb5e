"""Pictures of a photo, made when somebody asks: smaller, painted, or a void cut out."""

from dataclasses import replace

import cv2
import numpy as np

from serving.gateway.errors import NotFound
from serving.gateway.records.tables import Photo, Task
from stocktake.images import Pixels, ReducedPhoto, decode_reduced, encode_jpeg
from stocktake.shelf.drawing import draw_report
from stocktake.shelf.report import ShelfReport

MAX_WIDTH = 4096
MARGIN = 0.25  # of a void's box that a crop shows on each side
CROP_SIDE = 480  # px of a crop's longer side, at most


def draw(data: bytes, photo: Photo, width: int | None, annotated: bool) -> bytes:
    """A JPEG of a photo, upright and without its EXIF; not larger than the photo.

    Raises:
        NotFound: there is nothing to paint on it.
    """
    wanted = min(width or photo.width, photo.width)
    reduced = decode_reduced(data, round(wanted * max(1, photo.height / photo.width)))
    pixels = reduced.pixels
    if annotated:
        pixels = draw_report(pixels, _scaled(photo, reduced))
    return encode_jpeg(_fit(pixels, wanted))


def crop(data: bytes, photo: Photo, number: int) -> bytes:
    """A JPEG of one void, and a little of what is beside it; `number` is its place in the report."""
    voids = (photo.report or {}).get("voids", [])
    if number >= len(voids):
        raise NotFound(f"the report of this photo has {len(voids)} voids, counted from 0")
    x0, y0, x1, y1 = voids[number]["box"]
    sides = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    pixels = decode_reduced(data, None).pixels
    height, width = pixels.shape[:2]
    left, top = (max(0, int(start - side)) for start, side in zip((x0, y0), sides, strict=True))
    right, bottom = min(width, int(x1 + sides[0]) + 1), min(height, int(y1 + sides[1]) + 1)
    cut = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    return encode_jpeg(_fit(cut, round(CROP_SIDE * min(1, cut.shape[1] / cut.shape[0]))))


def _scaled(photo: Photo, reduced: ReducedPhoto) -> ShelfReport:
    """The report of a photo in px of the reduced one."""
    if photo.task != Task.SHELVES or photo.report is None:
        raise NotFound("annotated: only photos of shelves that are answered have something to paint")
    whole = ShelfReport.from_json(photo.width, photo.height, photo.report, photo.products or [])
    boxes = np.array([void.box for void in whole.voids], np.float32).reshape(-1, 4)
    places = reduced.to_pixels(boxes).tolist()
    voids = [replace(void, box=tuple(place)) for void, place in zip(whole.voids, places, strict=True)]
    return replace(whole, boxes=reduced.to_pixels(whole.boxes), voids=voids)


def _fit(pixels: Pixels, width: int) -> Pixels:
    """Pixels (H, W, 3) no wider than `width`."""
    if pixels.shape[1] <= width:
        return pixels
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return cv2.resize(pixels, (max(1, width), height), interpolation=cv2.INTER_AREA)

"""Pictures of a photo, made when somebody asks: smaller, painted, or a void cut out."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from serving.gateway.errors import NotFound
from serving.gateway.records.tables import Photo, Task
from stocktake.photo_header import read_info
from stocktake.shelf.drawing import draw_report
from stocktake.shelf.report import ShelfReport
from stocktake.small_photos import encode_small, memory_of, open_small

MAX_WIDTH = 4096
MAX_PIXELS = 8_000_000  # of a picture; up to four times as many are unpacked for it
MARGIN = 0.25  # of a void's box that a crop shows on each side
CROP_SIDE = 480  # px of a crop's longer side, at most
SMALLER = Image.Resampling.HAMMING  # as sharp as means of squares, without their steps
Box = tuple[float, float, float, float]


def draw(data: bytes, photo: Photo, width: int | None, annotated: bool) -> bytes:
    """A JPEG of a photo, upright and without its EXIF; not larger than the photo or MAX_PIXELS.

    Raises:
        NotFound: there is nothing to paint on it.
    """
    scale = min(_most(photo.width, photo.height), (width or photo.width) / photo.width)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    report = _scaled(photo, size[0] / photo.width) if annotated else None
    picture = open_small(data, max(size)).resize(size, SMALLER)
    if report is not None:
        picture = Image.fromarray(draw_report(np.asarray(picture), report))
    return encode_small(picture)


def crop(data: bytes, photo: Photo, number: int) -> bytes:
    """A JPEG of one void, and a little of what is beside it; `number` is its place in the report."""
    voids = (photo.report or {}).get("voids", [])
    if number >= len(voids):
        raise NotFound(f"the report of this photo has {len(voids)} voids, counted from 0")
    box = _widened(voids[number]["box"], photo.width, photo.height)
    sides = box[2] - box[0], box[3] - box[1]
    scale = min(1, CROP_SIDE / max(sides))
    least = min(scale, _most(photo.width, photo.height))
    reduced = open_small(data, round(max(photo.width, photo.height) * least))
    scale = min(scale, reduced.width / photo.width)
    place = _times(box, reduced.width / photo.width, reduced.height / photo.height)
    size = max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))
    return encode_small(reduced.resize(size, SMALLER, box=place))


def memory_to_draw(data: bytes) -> int:
    """Bytes that `draw` or `crop` takes at most for a photo; raises as `read_info`."""
    info = read_info(data)
    return memory_of(info, math.ceil(max(info.stored_size) * _most(*info.stored_size)))


def _most(width: int, height: int) -> float:
    """Of a photo of so many px, by how much its sides are multiplied at most."""
    return min(1, math.sqrt(MAX_PIXELS / (width * height)))


def _widened(box: Box, width: int, height: int) -> Box:
    """A void's box and its margins in whole px, within a photo of `width` x `height` px."""
    across, down = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
    left, top = min(max(0, int(box[0] - across)), width - 1), min(max(0, int(box[1] - down)), height - 1)
    right, bottom = min(width, int(box[2] + across) + 1), min(height, int(box[3] + down) + 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _scaled(photo: Photo, scale: float) -> ShelfReport:
    """The report of a photo in px of one that is `scale` times as large."""
    if photo.task != Task.SHELVES or photo.report is None:
        raise NotFound("annotated: only photos of shelves that are answered have something to paint")
    whole = ShelfReport.from_json(photo.width, photo.height, photo.report, photo.products or [])
    voids = [replace(void, box=_times(void.box, scale, scale)) for void in whole.voids]
    return replace(whole, boxes=whole.boxes * np.float32(scale), voids=voids)


def _times(box: Box, across: float, down: float) -> Box:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down

"""Draws photos of warehouse bins with a known number of items, in ABID's own format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from stocktake.dataset import DRAWN_LICENCE, LICENCE_FILE
from stocktake.errors import DataError, SettingsError
from stocktake.files import explain_os_error
from stocktake.images import encode_jpeg
from stocktake.synthetic.bin_layout import (
    BinSpace,
    Item,
    draw_space,
    fill_bin,
    jitter,
    pick_one,
    stow_one,
)
from stocktake.synthetic.bin_metadata import describe_bin
from stocktake.synthetic.bin_runs import BinRun, plan_runs
from stocktake.synthetic.bin_scenery import BinLook, BinView, draw_look, paint_front, paint_inside
from stocktake.synthetic.bin_settings import BinDrawSettings
from stocktake.synthetic.bin_stock import paint_items
from stocktake.synthetic.camera import draw_homography, expose_photo, light_photo
from stocktake.synthetic.output import check_leftovers, lay_sheet, map_processes
from stocktake.synthetic.scene import Canvas

_HAZE = (118, 106, 92)  # the grey that low contrast tends to
_GRAIN = 192  # px after which the noise repeats
_WARM = (1.0, 0.93, 0.84)  # the lamps of a warehouse


@dataclass(frozen=True, slots=True)
class DrawnBin:
    """A photo of a bin and the truth about it."""

    photo: np.ndarray  # (H, W, 3) uint8 RGB
    quantity: int
    items: tuple[Item, ...]
    visible: np.ndarray  # (n,) float64, share of each item that no other item hides
    jpeg_quality: int


def draw_bin(
    rng: np.random.Generator, settings: BinDrawSettings | None = None, quantity: int | None = None
) -> DrawnBin:
    """Draw one photo; the same state of `rng` and the same settings give the same pixels.

    `quantity` items, 0 to 10, or as many as the settings' chances say.
    """
    settings = settings or BinDrawSettings()
    if quantity is None:
        chances = np.array(settings.counts)
        quantity = int(rng.choice(len(chances), p=chances / chances.sum()))
    return next(draw_run(rng, settings, (quantity,)))


def draw_run(
    rng: np.random.Generator, settings: BinDrawSettings, quantities: Sequence[int]
) -> Iterator[DrawnBin]:
    """Photos of one bin; between two photos items are picked or stowed, the others stay where they are."""
    space = draw_space(rng, settings)
    look = draw_look(rng, settings, space.opening)
    width = int(rng.integers(settings.width[0], settings.width[1] + 1))
    items = fill_bin(rng, settings, space, quantities[0])
    for quantity in quantities:
        while len(items) > quantity:
            items = pick_one(rng, items)
        while len(items) < quantity:
            items = stow_one(rng, settings, space, items)
        yield _take_photo(rng, settings, space, look, items, width)
        items = jitter(rng, items)


def _take_photo(
    rng: np.random.Generator,
    settings: BinDrawSettings,
    space: BinSpace,
    look: BinLook,
    items: tuple[Item, ...],
    width: int,
) -> DrawnBin:
    left, right = (margin + rng.uniform(-0.01, 0.01) for margin in look.margin)
    scale = width / (1 + left + right)
    height = round(scale * (space.opening + sum(look.lip)))
    pixels = np.empty((height, width, 3), np.uint8)
    origin = scale * left, scale * (space.opening + look.lip[1])
    view = BinView(space, Canvas(pixels, (0.0, 0.0)), origin, scale)
    paint_inside(rng, view, look)
    visible = paint_items(rng, view, items)
    paint_front(rng, view, look)
    camera = draw_homography(rng, width, height, settings.tilt, settings.keystone)
    photo = cv2.warpPerspective(
        pixels, camera, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    photo = _expose(rng, settings, photo)
    quality = int(rng.integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1))
    return DrawnBin(photo, len(items), items, visible, quality)


def _expose(rng: np.random.Generator, settings: BinDrawSettings, photo: np.ndarray) -> np.ndarray:
    """Warm light, too little of it, and a camera that sees it through haze and out of focus."""
    light, haze = rng.uniform(*settings.light), rng.uniform(*settings.haze)
    levels = np.arange(256, dtype=np.float32)[:, None] * np.array(_WARM, np.float32) * light
    table = levels * (1 - haze) + np.array(_HAZE, np.float32) * haze
    photo = cv2.LUT(photo, np.clip(table, 0, 255).astype(np.uint8)[None])
    photo = light_photo(rng, photo, settings.lighting)
    blur = rng.uniform(*settings.blur) * photo.shape[1] / 480
    return expose_photo(rng, photo, blur, rng.uniform(*settings.noise), _GRAIN)


def write_dataset(
    out_dir: Path,
    count: int,
    settings: BinDrawSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write `count` photos in ABID's layout; same seed, count and settings give the same bytes.

    bin-images/<id>.jpg, metadata/<id>.json with BIN_FCSKU_DATA and EXPECTED_QUANTITY, and beside them a
    licence.txt that says whose photos these are, which ingest takes for their licence. Neighbouring ids
    often show one bin before and after a pick. A photo does not depend on how many there are or on `workers`
    (processes). Raises SettingsError for a count below one, DataError when the folder cannot be written or
    holds other photos.
    """
    settings = settings or BinDrawSettings()
    if count < 1:
        raise SettingsError(f"count is {count}; draw 1 photo or more")
    runs = plan_runs(settings, count, seed)
    try:
        for folder in ("bin-images", "metadata"):
            (out_dir / folder).mkdir(parents=True, exist_ok=True)
        check_leftovers(out_dir / "bin-images", {f"{photo}.jpg" for run in runs for photo in run.ids})
        (out_dir / LICENCE_FILE).write_text(f"{DRAWN_LICENCE}\n")
        draw = partial(_write_run, out_dir=out_dir, settings=settings, seed=seed)
        with tqdm(total=count, desc="drawing bins", unit="photo", disable=None if progress else True) as bar:
            for written in map_processes(draw, runs, workers, chunk=16):
                bar.update(written)
    except OSError as error:
        raise DataError(f"drawn bins: {explain_os_error(error, out_dir)}") from error
    return out_dir


def _write_run(run: BinRun, out_dir: Path, settings: BinDrawSettings, seed: int) -> int:
    bins = draw_run(np.random.default_rng([seed, run.number, 1]), settings, run.counts)
    for photo, drawn in zip(run.ids, bins, strict=True):
        (out_dir / "bin-images" / f"{photo}.jpg").write_bytes(encode_jpeg(drawn.photo, drawn.jpeg_quality))
        metadata = describe_bin(item.product for item in drawn.items)
        (out_dir / "metadata" / f"{photo}.json").write_text(json.dumps(metadata, indent=4))
    return len(run.ids)


def contact_sheet(bins: Sequence[DrawnBin], columns: int = 6, height: int = 240) -> np.ndarray:
    """Photos side by side with their number of items, (H, W, 3) uint8 RGB; each row is `height` px high.

    Raises SettingsError for no photos.
    """
    cells = []
    for drawn in bins:
        tall, wide = drawn.photo.shape[:2]
        size = max(round(wide * height / tall), 1), height
        cell = cv2.resize(drawn.photo, size, interpolation=cv2.INTER_AREA)
        cv2.rectangle(cell, (0, 0), (26, 26), (20, 20, 20), -1)
        cv2.putText(
            cell, str(drawn.quantity), (4, 21), cv2.FONT_HERSHEY_DUPLEX, 0.7, (255, 235, 90), 1, cv2.LINE_AA
        )
        cells.append(cell)
    return lay_sheet(cells, columns)

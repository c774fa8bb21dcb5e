"""Draws photos of supermarket shelves whose products and voids are known, in SKU-110K's own format."""

import csv
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from stocktake.dataset import TruthVoid
from stocktake.errors import DataError, SettingsError
from stocktake.synthetic.camera import draw_homography, expose_photo, light_photo, transform_boxes
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.families import get_family
from stocktake.synthetic.layout import ShelfPlan, plan_shelf
from stocktake.synthetic.scenery import Canvas, paint_shelf

SPLITS = ("train", "val", "test")
VOID_HEADER = ("image_name", "x1", "y1", "x2", "y2", "tier", "facings", "kind")
_LABELLED_FROM = 0.35  # a pack cut by the photo's border is labelled when this share of it can be seen


@dataclass(frozen=True, slots=True)
class DrawnShelf:
    """A photo and the truth about it; all boxes lie inside the photo."""

    photo: np.ndarray  # (H, W, 3) uint8 RGB
    boxes: np.ndarray  # (n, 4) float32 xyxy px, whole numbers: front packs, stacked ones too
    voids: list[TruthVoid]  # runs of kind low_stock are listed, and are no voids
    jpeg_quality: int


def draw_shelf(rng: np.random.Generator, settings: DrawSettings) -> DrawnShelf:
    """Draw one photo; the same state of `rng` and the same settings give the same pixels."""
    family = get_family(settings.family)
    width, height = settings.width, settings.height
    if rng.random() < settings.landscape:
        width, height = height, width
    camera = draw_homography(rng, width, height, settings.tilt, settings.keystone)
    left, top, right, bottom = transform_boxes(np.linalg.inv(camera), np.array([[0, 0, width, height]]))[0]
    plan = plan_shelf(rng, settings, family, (width, height), (left, right))
    origin = (float(np.floor(left)) - 2, float(np.floor(top)) - 2)
    pixels = np.empty((int(bottom - origin[1]) + 4, int(right - origin[0]) + 4, 3), np.uint8)
    boxes = paint_shelf(rng, settings, family, plan, Canvas(pixels, origin))
    shift = np.array([[1, 0, origin[0]], [0, 1, origin[1]], [0, 0, 1]])
    photo = cv2.warpPerspective(pixels, camera @ shift, (width, height), flags=cv2.INTER_LINEAR)
    photo = light_photo(rng, photo, settings.lighting)
    photo = expose_photo(rng, photo, rng.uniform(*settings.blur), rng.uniform(*settings.noise))
    quality = int(rng.integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1))
    return DrawnShelf(
        photo, _visible_boxes(camera, boxes, width, height), _true_voids(camera, plan, width, height), quality
    )


def _visible_boxes(camera: np.ndarray, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    seen = transform_boxes(camera, boxes)
    clipped = np.clip(np.rint(seen), 0, [width, height, width, height])
    share = _area(clipped) / np.maximum(_area(seen), 1)
    sides = clipped[:, 2:] - clipped[:, :2]
    return clipped[(share >= _LABELLED_FROM) & (sides.min(1, initial=1e9) >= 4)].astype(np.float32)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)


def _true_voids(camera: np.ndarray, plan: ShelfPlan, width: int, height: int) -> list[TruthVoid]:
    """The runs that can be seen; tiers are counted from the floor."""
    voids = []
    visible_tiers = [t for t in plan.tiers if t.board > 0 and t.top < height]
    for number, tier in enumerate(reversed(visible_tiers), start=1):
        for run in tier.runs:
            x1, y1, x2, y2 = transform_boxes(camera, np.array([run.box]))[0]
            columns = transform_boxes(
                camera, np.array([(a, run.box[1], b, run.box[3]) for a, b in run.columns])
            )
            shown = (np.minimum(columns[:, 2], width) - np.maximum(columns[:, 0], 0)) / (
                columns[:, 2] - columns[:, 0]
            )
            facings = int((shown > 0.5).sum())
            cut = np.clip((x1, y1, x2, y2), 0, (width, height, width, height))
            if facings == 0 or cut[3] - cut[1] < 0.5 * (y2 - y1):
                continue
            at_border = x1 < 0 or x2 > width
            kind = "edge" if run.kind == "gap" and at_border else run.kind
            box = (float(round(cut[0])), float(round(cut[1])), float(round(cut[2])), float(round(cut[3])))
            voids.append(TruthVoid(box, number, facings, kind))
    return voids


def write_dataset(
    out_dir: Path,
    counts: Mapping[str, int],
    settings: DrawSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a folder in SKU-110K's layout; same seed, counts and settings give the same bytes.

    images/<split>_<i>.jpg; annotations/annotations_<split>.csv (image_name,x1,y1,x2,y2,class,image_width,image_height,
    whole numbers, no header); annotations/voids_<split>.csv (header VOID_HEADER), the truth about voids, which SKU-110K
    does not have. Photo i of a split depends on the seed, its split and i only. Raises SettingsError for an unknown
    split or a count below zero, DataError when the folder cannot be written.
    """
    settings = settings or DrawSettings()
    for split, count in counts.items():
        if split not in SPLITS or count < 0:
            raise SettingsError(
                f"counts has {split}={count}; splits are {', '.join(SPLITS)}, counts are 0 or more"
            )
    names = [(split, i) for split in SPLITS for i in range(counts.get(split, 0))]
    images, annotations = out_dir / "images", out_dir / "annotations"
    try:
        images.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        rows = dict(zip(names, _draw_all(names, images, settings, seed, workers, progress), strict=True))
        for split in counts:
            mine = [rows[name] for name in names if name[0] == split]
            _write_csv(annotations / f"annotations_{split}.csv", (row for boxes, _ in mine for row in boxes))
            voids = (row for _, found in mine for row in found)
            _write_csv(annotations / f"voids_{split}.csv", voids, VOID_HEADER)
    except OSError as error:
        raise DataError(
            f"cannot write drawn shelves to {out_dir}: {error.strerror or error}; check space and rights"
        ) from error
    return out_dir


Rows = tuple[list[tuple[object, ...]], list[tuple[object, ...]]]


def _draw_all(
    names: list[tuple[str, int]],
    images: Path,
    settings: DrawSettings,
    seed: int,
    workers: int | None,
    progress: bool,
) -> list[Rows]:
    draw = partial(_draw_photo, images=images, settings=settings, seed=seed)
    workers = min(workers or os.cpu_count() or 1, max(len(names), 1))
    bar = partial(tqdm, total=len(names), desc="drawing shelves", unit="photo", disable=not progress)
    if workers == 1:
        return list(bar(map(draw, names)))
    with ProcessPoolExecutor(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return list(bar(pool.map(draw, names, chunksize=4)))


def _draw_photo(name: tuple[str, int], images: Path, settings: DrawSettings, seed: int) -> Rows:
    split, index = name
    shelf = draw_shelf(np.random.default_rng([seed, SPLITS.index(split), index]), settings)
    file_name = f"{split}_{index}.jpg"
    ok, data = cv2.imencode(".jpg", shelf.photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, shelf.jpeg_quality])
    if not ok:
        raise DataError(f"{file_name}: the drawn photo could not be encoded as JPEG")
    (images / file_name).write_bytes(data.tobytes())
    height, width = shelf.photo.shape[:2]
    boxes = [(file_name, *map(int, box), "object", width, height) for box in shelf.boxes]
    voids = [(file_name, *map(int, void.box), void.tier, void.facings, void.kind) for void in shelf.voids]
    return boxes, voids


def _write_csv(path: Path, rows: Iterable[tuple[object, ...]], header: tuple[str, ...] | None = None) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if header:
            writer.writerow(header)
        writer.writerows(rows)

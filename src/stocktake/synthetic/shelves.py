"""Draws photos of supermarket shelves whose products and voids are known, in SKU-110K's own format."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from stocktake.dataset import SPLITS, TruthVoid
from stocktake.errors import DataError, SettingsError
from stocktake.files import explain_os_error
from stocktake.images import encode_jpeg
from stocktake.shelf.annotations import VOID_COLUMNS
from stocktake.synthetic.camera import draw_homography, expose_photo, light_photo, transform_boxes
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.families import get_family
from stocktake.synthetic.layout import ShelfPlan, plan_shelf
from stocktake.synthetic.missing import take_away
from stocktake.synthetic.output import check_leftovers, lay_sheet, map_processes
from stocktake.synthetic.scene import Canvas, Scene
from stocktake.synthetic.scenery import paint_shelf
from stocktake.void_kinds import EDGE, GAP, LOW_STOCK

_LABELLED_FROM = 0.25  # a pack cut by the photo's border is labelled when this share of it can be seen
_GREEN, _RED, _BLUE = (60, 230, 90), (255, 40, 40), (60, 140, 255)


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
    take_away(rng, settings, plan, (width, height))
    origin = (float(np.floor(left)) - 2, float(np.floor(top)) - 2)
    pixels = np.empty((int(bottom - origin[1]) + 4, int(right - origin[0]) + 4, 3), np.uint8)
    boxes = paint_shelf(Scene(rng, settings, family, plan, Canvas(pixels, origin)))
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
    """The runs that can be seen; tiers are counted from the floor.

    A facing counts when half of it is in the photo. A tilted void's box has the mean heights of its ends, so
    that it does not grow into the tiers above and below.
    """
    voids = []
    visible = [tier for tier in plan.tiers if tier.board > 0 and tier.top < height]
    for number, tier in enumerate(reversed(visible), start=1):
        for run in tier.runs:
            facings = [(left, run.box[1], right, run.box[3]) for left, right in run.columns]
            whole = _level_boxes(camera, np.array([run.box, *facings]))
            cut = np.rint(np.clip(whole, 0, [width, height, width, height]))
            seen = _area(cut) > 0.5 * _area(whole)
            if not seen[1:].any():
                continue
            x1, y1, x2, y2 = map(float, cut[0])
            cut_off = run.kind == GAP and (x1 == 0 or x2 == width)
            kind = EDGE if cut_off else run.kind
            voids.append(TruthVoid((x1, y1, x2, y2), number, int(seen[1:].sum()), kind))
    return voids


def _level_boxes(camera: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Boxes seen through a homography, each side at the mean of its two corners; (n, 4) float64 xyxy."""
    corners = boxes[:, [0, 1, 0, 3, 2, 1, 2, 3]].reshape(-1, 1, 2).astype(np.float64)
    seen = cv2.perspectiveTransform(corners, camera).reshape(-1, 4, 2)
    sides = (seen[:, [0, 0, 2, 1]] + seen[:, [1, 2, 3, 3]]) / 2  # left, top, right, bottom
    return np.stack([sides[:, 0, 0], sides[:, 1, 1], sides[:, 2, 0], sides[:, 3, 1]], 1)


def write_dataset(
    out_dir: Path,
    counts: Mapping[str, int],
    settings: DrawSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a folder in SKU-110K's layout; same seed, counts and settings give the same bytes.

    images/<split>_<i>.jpg; annotations/annotations_<split>.csv without a header, whole numbers: image_name,
    x1, y1, x2, y2, class, image_width, image_height; annotations/voids_<split>.csv with VOID_COLUMNS, the
    truth about voids, which SKU-110K does not have. Photo i of a split depends on the seed, the settings, its
    split and i only. Raises SettingsError for an unknown split, a count below zero or no photo at all,
    DataError when the folder cannot be written or holds other photos.
    """
    settings = settings or DrawSettings()
    for split, count in counts.items():
        if split not in SPLITS or count < 0:
            raise SettingsError(
                f"counts has {split}={count}; splits are {', '.join(SPLITS)}, counts are 0 or more"
            )
    if not sum(counts.values()):
        raise SettingsError("counts has no photo in any split; draw 1 photo or more")
    names = [(split, i) for split in SPLITS for i in range(counts.get(split, 0))]
    images, annotations = out_dir / "images", out_dir / "annotations"
    try:
        images.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        check_leftovers(images, [_file_name(*name) for name in names])
        rows = dict(zip(names, _draw_all(names, images, settings, seed, workers, progress), strict=True))
        for split in counts:
            mine = [rows[name] for name in names if name[0] == split]
            _write_csv(annotations / f"annotations_{split}.csv", (row for boxes, _ in mine for row in boxes))
            voids = (row for _, found in mine for row in found)
            _write_csv(annotations / f"voids_{split}.csv", voids, VOID_COLUMNS)
    except OSError as error:
        raise DataError(f"drawn shelves: {explain_os_error(error, out_dir)}") from error
    return out_dir


def contact_sheet(shelves: Sequence[DrawnShelf], columns: int = 4, height: int = 400) -> np.ndarray:
    """Photos side by side with their truth, (H, W, 3) uint8 RGB; each row of photos is `height` px high.

    Front packs are framed in thin green, voids in red, low stock in blue. Raises SettingsError for no photos.
    """
    return lay_sheet([_annotate(shelf, height) for shelf in shelves], columns)


def _annotate(shelf: DrawnShelf, height: int) -> np.ndarray:
    scale = height / shelf.photo.shape[0]
    cell = cv2.resize(shelf.photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frames = [(box, _GREEN, 1) for box in shelf.boxes]
    frames += [(void.box, _BLUE if void.kind == LOW_STOCK else _RED, 2) for void in shelf.voids]
    for box, colour, thickness in frames:
        x1, y1, x2, y2 = (round(float(v) * scale) for v in box)
        cv2.rectangle(cell, (x1, y1), (x2, y2), colour, thickness)
    return cell


def _file_name(split: str, index: int) -> str:
    return f"{split}_{index}.jpg"


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
    hidden = None if progress else True
    drawn = map_processes(draw, names, workers)
    return list(tqdm(drawn, total=len(names), desc="drawing shelves", unit="photo", disable=hidden))


def _draw_photo(name: tuple[str, int], images: Path, settings: DrawSettings, seed: int) -> Rows:
    split, index = name
    shelf = draw_shelf(np.random.default_rng([seed, SPLITS.index(split), index]), settings)
    file_name = _file_name(split, index)
    (images / file_name).write_bytes(encode_jpeg(shelf.photo, shelf.jpeg_quality))
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

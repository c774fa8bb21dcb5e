"""Photos that were seen and rows that were read, joined; what does not fit is counted by reason."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from stocktake.dataset import Photo
from stocktake.shelf.annotations import Annotations, PhotoRows, upright_boxes, upright_voids
from stocktake.shelf.sku110k_exclusions import STRICT


@dataclass(frozen=True, slots=True)
class Sighting:
    """A photo file that was read: its digest and what check_photo says, or the problem with it."""

    name: str
    key: str
    size: int
    version: str | None
    sha256: str
    width: int = 0  # px after EXIF rotation
    height: int = 0
    format: str = ""
    mode: str = ""
    exif_orientation: int = 1
    problem: str = ""  # why it can't be read


@dataclass
class Joined:
    """Photos for the index, and every photo and row that is not in it.

    Photos seen = kept + the photos in `left_out`; rows read = rows of kept photos + `rows_left_out`.
    """

    photos: list[Photo] = field(default_factory=list)
    # reason -> name -> why
    left_out: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    missing: list[str] = field(default_factory=list)  # annotated photos that the source does not have
    rows_left_out: Counter[str] = field(default_factory=Counter)  # reason -> rows
    # kept, but worth a look
    remarks: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    boxes_outside: int = 0
    boxes_degenerate: int = 0


def join_rows(
    annotations: Annotations, sightings: dict[str, Sighting], beyond_limit: set[str], strict: bool
) -> Joined:
    """Make the index's photos.

    Args:
        annotations: rows by photo.
        sightings: what was read, by photo.
        beyond_limit: photos that were not read, on purpose.
        strict: leave out the photos of the strict exclusion list.
    """
    found = Joined()
    for name in sorted(sightings.keys() | annotations.photos.keys()):
        rows, sighting = annotations.photos.get(name), sightings.get(name)
        if sighting is None:
            if name not in beyond_limit:
                found.missing.append(name)
            reason, why = ("beyond_limit" if name in beyond_limit else "photo_missing"), ""
        elif rows is None:
            reason, why = "no_rows", "no annotation file has a row for it"
        elif strict and name in STRICT:
            reason, why = "excluded", "on the strict exclusion list"
        elif sighting.problem:
            reason, why = "unreadable", sighting.problem
        else:
            reason, why = _add_photo(rows, sighting, annotations.knows_voids, found)
        if reason and rows:
            found.rows_left_out[reason] += rows.rows
        if reason and sighting:
            found.left_out[reason][name] = why
    for name in sorted(beyond_limit):
        found.left_out["beyond_limit"][name] = "not read: --limit"
    for name, count in sorted(annotations.repeated.items()):
        found.rows_left_out["second_split"] += count
        found.remarks["in two splits"][name] = f"used in {annotations.photos[name].split} only"
    return found


def _add_photo(rows: PhotoRows, sighting: Sighting, knows_voids: bool, found: Joined) -> tuple[str, str]:
    """Append the photo and return no reason, or the reason why its boxes can't be trusted."""
    if len(rows.sizes) > 1:
        sizes = ", ".join(f"{width}x{height}" for width, height in sorted(rows.sizes))
        return "wrong_size", f"its rows give several sizes: {sizes}"
    (given,) = rows.sizes
    actual = (sighting.width, sighting.height)
    boxes, voids = rows.boxes, rows.voids
    if given != actual:
        if given != actual[::-1] or sighting.exif_orientation < 5:
            return "wrong_size", "its rows say {}x{}, the photo has {}x{}".format(*given, *actual)
        boxes = upright_boxes(boxes, *given, sighting.exif_orientation)
        voids = upright_voids(voids, *given, sighting.exif_orientation)
        found.remarks["boxes turned with the EXIF rotation"][sighting.name] = (
            f"orientation {sighting.exif_orientation}"
        )
    _remark(sighting, boxes, found)
    found.photos.append(
        Photo(
            name=sighting.name,
            uri=sighting.key,
            length=sighting.size,
            sha256=sighting.sha256,
            width=sighting.width,
            height=sighting.height,
            split=rows.split,
            group=sighting.sha256,  # the same bytes under two names belong together
            boxes=boxes,
            voids=tuple(voids) if knows_voids else None,
        )
    )
    return "", ""


def _remark(sighting: Sighting, boxes: np.ndarray, found: Joined) -> None:
    name, remarks = sighting.name, found.remarks
    suffix = name.rpartition(".")[2].lower().replace("jpg", "jpeg")
    if sighting.format != suffix:
        remarks["not what its name says"][name] = f"{sighting.format} inside"
    if sighting.mode not in ("RGB", "L"):
        remarks["not plain RGB or grey"][name] = sighting.mode
    if sighting.exif_orientation != 1:
        remarks["has an EXIF rotation"][name] = f"orientation {sighting.exif_orientation}"
    limits = np.array([sighting.width, sighting.height] * 2, np.float32)
    found.boxes_outside += int(((boxes < 0) | (boxes > limits)).any(axis=1).sum())
    found.boxes_degenerate += int(((boxes[:, 2:] - boxes[:, :2]) <= 0).any(axis=1).sum())

"""Labels in YOLO's text form, and the folder that YOLOv5 trains on.

A label file has one line per box, `class x y w h`: the centre and the sides as shares of the photo's width
and height. This is what the YOLOv5 repository documents under "Train Custom Data".
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np
import yaml

from stocktake.boxes import FloatArray
from stocktake.dataset import SPLITS, DatasetIndex, Photo, fetch_photos
from stocktake.errors import DataError
from stocktake.files import explain_os_error

CLASS_NAMES = ("object",)  # SKU-110K knows one class, under this name
JPEG_END = b"\xff\xd9"
MARKER = ".stocktake-tree"  # tells a tree of ours, which may be replaced, from a user's own YOLO data set


def format_labels(boxes: FloatArray, width: int, height: int) -> str:
    """Label text of the boxes, (n, 4) xyxy px, of a photo of `width` x `height` px; six decimals, class 0."""
    sides = np.array([width, height, width, height], np.float64)
    corners = np.asarray(boxes, np.float64).reshape(-1, 4) / sides
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    rows = np.hstack([centres, corners[:, 2:] - corners[:, :2]])
    return "".join(f"0 {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for x, y, w, h in rows)


def parse_labels(text: str, width: int, height: int) -> FloatArray:
    """Boxes (n, 4) float32 xyxy px of a label text, the inverse of `format_labels` up to its six decimals.

    Raises:
        DataError: a line is not five numbers of which the last four are in 0..1.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _, *shares = map(float, line.split())
        except ValueError:
            shares = []
        if len(shares) != 4 or not all(0 <= share <= 1 for share in shares):
            raise DataError(
                f"label line {number} is {line!r}; it must be `class x y w h`, the last four in 0..1"
            )
        rows.append(shares)
    if not rows:
        return np.zeros((0, 4), np.float32)
    centres, sides = np.hsplit(np.array(rows), 2)
    corners = np.hstack([centres - sides / 2, centres + sides / 2])
    return (corners * [width, height, width, height]).astype(np.float32)


def write_tree(
    index: DatasetIndex, out_dir: Path, cache_dir: Path | None = None, progress: bool = True
) -> Path:
    """Write the folder that YOLOv5 trains on: images/<split>, labels/<split> for each split, and data.yaml.

    The folder is built beside `out_dir` and takes its place by renaming: whoever opens `out_dir` finds a
    whole tree or none, even after a kill, and a second call leaves nothing of the first nor of a killed one.
    Only one process at a time may write the same tree.

    Photos come through the cache as hard links, which cost no space. One that the trainer may rewrite (it
    "restores" a JPEG without an end marker) and any that cannot be linked is copied, so that neither the
    cache nor the store nor a mapped folder is ever written to.

    Args:
        index: boxes within their photos; see `prepare_labels`.
        out_dir: a new folder, or one that this function has made.
        cache_dir: as for `fetch_photos`.
        progress: show a bar while photos are fetched.

    Returns:
        The path of data.yaml.

    Raises:
        DataError: `out_dir` holds something else, two photos would get one name, or the disk refuses.
        StoreError: a photo cannot be read.
    """
    _refuse_foreign(out_dir)
    photos = sorted(index.photos, key=lambda photo: (photo.split, photo.name))
    names = list(_file_names(photos))
    cached = fetch_photos(index, photos, cache_dir, progress=progress)
    place = out_dir.resolve()  # a link to a tree stays one
    part, old = (place.with_name(f".{place.name}.{secrets.token_hex(6)}.{end}") for end in ("part", "old"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        for split in SPLITS:
            (part / "images" / split).mkdir(parents=True)
            (part / "labels" / split).mkdir(parents=True)
        for photo, name, source in zip(photos, names, cached, strict=True):
            _place(source, part / "images" / photo.split / name)
            label = part / "labels" / photo.split / PurePath(name).with_suffix(".txt")
            label.write_text(format_labels(photo.boxes, photo.width, photo.height))
        (part / "data.yaml").write_text(_data_yaml(photos))
        (part / MARKER).write_text("stocktake made this folder and replaces it when it is written again\n")
        if place.exists():
            place.rename(old)
        part.rename(place)
        _sweep(place)
    except OSError as error:
        raise DataError(explain_os_error(error, out_dir)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out_dir / "data.yaml"


def _refuse_foreign(out_dir: Path) -> None:
    if out_dir.is_dir() and ((out_dir / MARKER).is_file() or not any(out_dir.iterdir())):
        return
    if out_dir.exists():
        raise DataError(
            f"{out_dir}: holds something else than a tree that stocktake made (it has no {MARKER}); "
            "name a new or an empty folder"
        )


def _sweep(place: Path) -> None:
    """Remove the trees beside `place` that were never finished, or set aside for the one that is there."""
    ours = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{12}}\.(part|old)")
    for path in place.parent.iterdir():
        if ours.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _file_names(photos: list[Photo]) -> Iterator[str]:
    """One flat file name per photo; a name with folders in it becomes a longer one."""
    seen: dict[tuple[str, str], str] = {}
    for photo in photos:
        name = photo.name.replace("/", "__")
        stem = PurePath(name).stem
        if other := seen.get((photo.split, stem)):
            raise DataError(
                f"{other} and {photo.name} would share one label file in {photo.split}; rename one"
            )
        seen[photo.split, stem] = photo.name
        yield name


def _place(source: Path, target: Path) -> None:
    """Link a cached photo into the tree, or copy it where a link will not do."""
    if _ends_whole(source):
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copyfile(source, target)


def _ends_whole(path: Path) -> bool:
    """False for what the trainer may rewrite: a JPEG whose last two bytes are not the end marker."""
    with path.open("rb") as file:
        is_jpeg = file.read(2) == b"\xff\xd8"
        file.seek(-2, os.SEEK_END)
        return not is_jpeg or file.read() == JPEG_END


def _data_yaml(photos: list[Photo]) -> str:
    """Without `path`: the splits are then found beside the file, wherever the tree is moved to."""
    splits = [split for split in SPLITS if any(photo.split == split for photo in photos)]
    data = {
        **{split: f"images/{split}" for split in splits},
        "nc": len(CLASS_NAMES),
        "names": dict(enumerate(CLASS_NAMES)),
    }
    return yaml.safe_dump(data, sort_keys=False)

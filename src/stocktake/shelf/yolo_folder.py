"""Reads photos and labels that are in YOLO's layout already: data.yaml, images/…, labels/…"""

import hashlib
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stocktake.dataset import SPLITS, DatasetIndex, Photo
from stocktake.errors import DataError, UnsupportedImage
from stocktake.files import read_file, read_text, read_yaml
from stocktake.images import check_photo
from stocktake.shelf.yolo_labels import parse_labels

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def read_yolo_folder(data_yaml: Path, progress: bool = True) -> DatasetIndex:
    """Index the photos that a data.yaml names, referenced in place.

    `train`, `val` and `test` are folders, text files with a photo per line, or lists of them; a photo's
    labels lie in the folder whose name has `labels` where the photo's has `images`. A photo without a label
    file has no products, as YOLO reads it; its name stands in the index's metadata, and so do those of
    unreadable photos.

    Raises:
        DataError: the file is missing or malformed, names classes other than one, or a label is malformed.
    """
    config = _read_config(data_yaml)
    root = Path(config["path"])
    root = root if root.is_absolute() else data_yaml.parent / root
    photos: list[Photo] = []
    unlabelled: list[str] = []
    unreadable: list[str] = []
    for split in SPLITS:
        paths = [path for place in config[split] for path in _list_photos(root / place, split)]
        if not paths:
            continue
        for path in tqdm(paths, desc=split, unit="photo", disable=None if progress else True):
            name, labels = _name_of(path, root), _labels_of(path)
            if not labels.is_file():
                unlabelled.append(name)
            try:
                photos.append(_read_photo(path, name, labels, split))
            except UnsupportedImage as error:
                unreadable.append(f"{name}: {error}")
    about = {
        "name": data_yaml.parent.name,
        "source": str(data_yaml),
        "licence": "not known",
        "unlabelled": unlabelled,
        "left_out": {"unreadable": unreadable} if unreadable else {},
    }
    return DatasetIndex(photos, str(root), about)


def _read_photo(path: Path, name: str, labels: Path, split: str) -> Photo:
    data = read_file(path)
    info = check_photo(data)
    text = read_text(labels, DataError) if labels.is_file() else ""
    try:
        boxes = parse_labels(text, info.width, info.height)
    except DataError as error:
        raise DataError(f"{labels}: {error}") from error
    return Photo(
        name=name,
        uri=str(path.absolute()),
        length=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        width=info.width,
        height=info.height,
        split=split,
        group=name,
        boxes=boxes,
    )


def _read_config(path: Path) -> dict[str, Any]:
    """The path, and a list of places for each split."""
    config = read_yaml(path, DataError)
    if not config.get("train") or not config.get("val"):
        raise DataError(
            f"{path}: needs the keys train and val, the folders of photos; see `stocktake shelf prepare`"
        )
    names = config.get("names", ["object"])
    if not isinstance(names, list | dict):
        raise DataError(f"{path}: names is {names!r}; it must be a list of classes, as [object]")
    if (count := config.get("nc", len(names))) != 1:
        raise DataError(f"{path}: it has {count!r} classes; the shelf detector has one class, 'object'")
    root = config.get("path") or "."
    if not isinstance(root, str):
        raise DataError(f"{path}: path is {root!r}; it must be a folder")
    return {"path": root, **{split: _places(config.get(split) or [], split, path) for split in SPLITS}}


def _places(found: Any, split: str, path: Path) -> list[str]:
    places = found if isinstance(found, list) else [found]
    if not all(isinstance(place, str) for place in places):
        raise DataError(f"{path}: {split} is {found!r}; it must be a folder, a text file, or a list of them")
    return places


def _list_photos(place: Path, split: str) -> list[Path]:
    if place.is_file():
        lines = read_text(place, DataError).splitlines()
        found = [place.parent / line.strip() for line in lines if line.strip()]
    else:
        found = sorted(p for p in place.glob("**/*") if p.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        raise DataError(
            f"{place}: no photos for {split}; data.yaml must name a folder of JPEG, PNG or WebP files"
        )
    return found


def _name_of(photo: Path, root: Path) -> str:
    """Unique in the index: several splits may have a 1.jpg."""
    return (photo.relative_to(root) if photo.is_relative_to(root) else photo).as_posix()


def _labels_of(photo: Path) -> Path:
    parts = list(photo.parts)
    where = max((i for i, part in enumerate(parts) if part == "images"), default=None)
    if where is not None:
        parts[where] = "labels"
    return Path(*parts).with_suffix(".txt")

"""The photos of a trial: all, or a part of the train photos where trials on all would take too long."""

import hashlib
from dataclasses import replace
from pathlib import Path

from stocktake.dataset import DatasetIndex

INDEX_FILE = "trial-photos.parquet"


def trial_index(index_path: Path, photos: int | None, out_dir: Path) -> Path:
    """The index that trials use: `index_path`, or one in `out_dir` with about `photos` of its train photos.

    Groups stay whole and are taken in the order of their hashes, so that the choice is the same each time and
    grows with `photos`. Val and test photos all stay.
    """
    index = DatasetIndex.read(index_path)
    if photos is None or photos >= len(index.split("train")):
        return index_path
    groups: dict[str, int] = {}
    for photo in index.split("train"):
        groups[photo.group] = groups.get(photo.group, 0) + 1
    chosen: set[str] = set()
    count = 0
    for group in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if count >= photos:
            break
        chosen.add(group)
        count += groups[group]
    kept = [photo for photo in index.photos if photo.split != "train" or photo.group in chosen]
    path = out_dir / INDEX_FILE
    replace(index, photos=kept).write(path)
    return path

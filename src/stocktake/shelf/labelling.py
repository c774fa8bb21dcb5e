"""Judged photos as an index that label preparation reads: the beginning of a labelling set."""

from pathlib import Path

import numpy as np

from stocktake.dataset import INDEX_FILE, DatasetIndex, Photo, TruthVoid
from stocktake.errors import DataError
from stocktake.feedback import LabelledPhoto, read_feedback

LICENCE = "photos of the shop that they were taken in: not for others"


def write_labelling_set(feedback: str, out_dir: Path) -> DatasetIndex:
    """Write `out_dir`/index.parquet: photos whose every void a person has judged, in split train.

    Voids are the confirmed ones and those that people added. Product boxes are as the model saw them, a start
    for whoever labels them, and no truth; the index says so. Photos that are judged in part are left out.

    Raises:
        DataError: no photo is judged to the end, or the index cannot be written.
        StoreError: the feedback cannot be read.
    """
    said = [photo for photo in read_feedback(feedback) if photo.task == "shelves"]
    whole = {photo.sha256: photo for photo in said if all(void.verdict for void in photo.voids)}
    if not whole:
        raise DataError(f"{feedback}: none of {len(said)} photos of shelves has all of its voids judged")
    metadata = {
        "name": "feedback",
        "source": feedback,
        "licence": LICENCE,
        "boxes": "as models saw them, not labelled",
        "left_out": {"judged_in_part": len(said) - len(whole)},
    }
    index = DatasetIndex([_photo(photo) for photo in whole.values()], "/", metadata)
    index.write(out_dir / INDEX_FILE)
    return index


def _photo(photo: LabelledPhoto) -> Photo:
    confirmed = [
        TruthVoid(void.box, void.tier, void.facings, void.kind)
        for void in photo.voids
        if void.verdict == "void"
    ]
    added = [TruthVoid(box, 0, 1, "gap") for box in photo.missed]  # nobody said on which tier
    boxes = np.array(photo.products, np.float32).reshape(-1, 5)[:, :4]
    return Photo(
        name=f"feedback_{photo.sha256[:16]}", uri=photo.uri, length=photo.length, sha256=photo.sha256,
        width=photo.width, height=photo.height, split="train", group=photo.group,
        boxes=boxes, voids=(*confirmed, *added),
    )  # fmt: skip

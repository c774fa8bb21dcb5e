"""Judged photos as an index for label preparation."""

import cv2
import numpy as np
import pytest

from stocktake.cli import main
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import DataError
from stocktake.feedback import JudgedVoid, LabelledPhoto, write_feedback
from stocktake.files import sha256_file
from stocktake.shelf.label_prep import prepare
from stocktake.shelf.labelling import write_labelling_set


def judged(path, *verdicts, **fields) -> LabelledPhoto:
    """A photo of 60x50 px with a product and a void for each verdict."""
    rng = np.random.default_rng(len(path.name))
    cv2.imwrite(str(path), rng.integers(0, 256, (50, 60, 3), np.uint8))
    about = {"tier": 2, "position": 1, "facings": 1, "confidence": 0.8, "kind": "gap"}
    voids = [
        JudgedVoid(box=(n, 2, n + 9, 20), verdict=verdict, **about) for n, verdict in enumerate(verdicts)
    ]
    known = {
        "uri": str(path), "sha256": sha256_file(path), "length": path.stat().st_size, "width": 60,
        "height": 50, "task": "shelves", "group": "Mitte/A1", "taken_at": "2026-03-02T08:00:00.000Z",
        "model": "m", "model_version": "1", "products": [(30, 2, 50, 20, 0.9)], "voids": voids,
    }  # fmt: skip
    return LabelledPhoto(**known | fields)


def test_photos_that_are_judged_to_the_end_can_be_prepared(tmp_path, capsys):
    photos = [
        judged(tmp_path / "a.jpg", "void", "not_a_void", missed=[(5, 30, 20, 45)]),
        judged(tmp_path / "ab.jpg", "void", None),
        judged(tmp_path / "abc.jpg"),
        judged(tmp_path / "abcd.jpg", task="bins"),
    ]
    uri = str(tmp_path / "feedback.jsonl")
    write_feedback(photos, uri)
    main(["shelf", "labelling", uri, "--out", str(tmp_path / "out")])
    assert "2 photos; left out: 1 that are judged in part" in capsys.readouterr().out
    index = DatasetIndex.read(tmp_path / "out/index.parquet")
    first, second = index.photos
    assert [void.box for void in first.voids] == [(0, 2, 9, 20), (5, 30, 20, 45)]
    assert (second.voids, second.boxes.tolist()) == ((), [[30, 2, 50, 20]])
    assert read_photo_bytes(index, first) == (tmp_path / "a.jpg").read_bytes()
    assert prepare(tmp_path / "out/index.parquet", tmp_path / "prepared").boxes_kept == 2


def test_nothing_that_is_judged_to_the_end(tmp_path):
    uri = str(tmp_path / "feedback.jsonl")
    write_feedback([judged(tmp_path / "a.jpg", None)], uri)
    with pytest.raises(DataError, match="none of 1 photos"):
        write_labelling_set(uri, tmp_path / "out")

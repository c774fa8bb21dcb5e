import json
from pathlib import Path

import cv2
import pytest

from stocktake.cli import main
from stocktake.shelf.find_command import painted_names
from tests.tiny_model import draw_photo, write_model_dir

SHELF = [(0, 2), (1, 2), (2, 2), (5, 2), (6, 2)]


def test_photos_of_one_name_are_painted_side_by_side(tmp_path, capsys):
    model = write_model_dir(tmp_path / "model")
    photos = [tmp_path / folder / "shelf.png" for folder in ("monday", "tuesday")]
    for path, cells in zip(photos, (SHELF, SHELF[:2]), strict=True):
        path.parent.mkdir()
        cv2.imwrite(str(path), draw_photo(cells))
    out = tmp_path / "found"

    assert main(["shelf", "find", *map(str, photos), "--model", str(model), "--out", str(out)]) == 0

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["photo"], row["products"], row["painted"]) for row in told] == [
        (str(photos[0]), 5, str(out / "shelf.jpg")),
        (str(photos[1]), 2, str(out / "shelf-2.jpg")),
    ]
    assert (out / "shelf.jpg").read_bytes() != (out / "shelf-2.jpg").read_bytes()


def test_a_photo_that_cannot_be_read_is_named(tmp_path, capsys):
    model = write_model_dir(tmp_path / "model")
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    cv2.imwrite(str(good), draw_photo(SHELF))
    bad.write_text("no photo")

    assert main(["shelf", "find", str(good), str(bad), "--model", str(model)]) == 1

    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(f"stocktake: {bad}: ")
    assert json.loads(said.out)["photo"] == str(good)


@pytest.mark.parametrize(
    ("photos", "names"),
    [
        (["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "a.png", "x/a.webp"], ["a.jpg", "a-2.jpg", "a-3.jpg"]),
        (["a-2.jpg", "a.jpg", "x/a.jpg"], ["a-2.jpg", "a.jpg", "a-3.jpg"]),
        (["a.jpg", "x/A.jpg"], ["a.jpg", "A-2.jpg"]),
    ],
)
def test_every_painted_photo_has_a_name_of_its_own(photos, names):
    assert painted_names([Path(photo) for photo in photos]) == names

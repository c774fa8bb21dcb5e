import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from stocktake.errors import DataError, SettingsError
from stocktake.shelf.annotations import VOID_COLUMNS
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf, write_dataset
from tests.drawn_shelves import SMALL


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


# --- the folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    settings = DrawSettings.preset(**SMALL)
    folder = tmp_path_factory.mktemp("drawn") / "shelves"
    return write_dataset(
        folder, {"train": 3, "val": 1, "test": 2}, settings, seed=5, workers=2, progress=False
    )


def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(dataset, tmp_path):
    again = write_dataset(
        tmp_path / "again",
        {"train": 3, "val": 1, "test": 2},
        DrawSettings.preset(**SMALL),
        5,
        workers=1,
        progress=False,
    )
    assert read_tree(dataset) == read_tree(again)


def test_other_seed_gives_other_photos_and_more_photos_leave_the_first_alone(dataset, tmp_path):
    settings = DrawSettings.preset(**SMALL)
    other = write_dataset(tmp_path / "other", {"train": 1}, settings, seed=6, workers=1, progress=False)
    fewer = write_dataset(tmp_path / "fewer", {"train": 1}, settings, seed=5, workers=1, progress=False)
    name = "images/train_0.jpg"
    assert read_tree(other)[name] != read_tree(dataset)[name]
    assert read_tree(fewer)[name] == read_tree(dataset)[name]


def test_folder_has_the_layout_of_sku110k(dataset):
    names = sorted(p.name for p in (dataset / "images").iterdir())
    assert names == ["test_0.jpg", "test_1.jpg", "train_0.jpg", "train_1.jpg", "train_2.jpg", "val_0.jpg"]
    for split in ("train", "val", "test"):
        rows = read_rows(dataset / "annotations" / f"annotations_{split}.csv")
        photos = {row[0]: cv2.imread(str(dataset / "images" / row[0])) for row in rows[::10]}
        assert {row[0] for row in rows} == {n for n in names if n.startswith(split)}
        for name, *numbers, label, width, height in rows:
            if name in photos:
                assert (int(height), int(width)) == photos[name].shape[:2]
            assert label == "object"
            x1, y1, x2, y2 = map(int, numbers)
            assert 0 <= x1 < x2 <= int(width)
            assert 0 <= y1 < y2 <= int(height)


def test_voids_file_tells_what_the_photo_shows(dataset):
    rows = read_rows(dataset / "annotations" / "voids_train.csv")
    assert tuple(rows[0]) == VOID_COLUMNS
    settings = DrawSettings.preset(**SMALL)
    expected = [
        [f"train_{i}.jpg", *(str(int(v)) for v in void.box), str(void.tier), str(void.facings), void.kind]
        for i in range(3)
        for void in draw_shelf(np.random.default_rng([5, 0, i]), settings).voids
    ]
    assert rows[1:] == expected
    assert expected


def test_wrong_counts_and_places_get_a_clear_error(tmp_path):
    with pytest.raises(SettingsError, match="validation=1"):
        write_dataset(tmp_path, {"validation": 1})
    with pytest.raises(SettingsError, match="train=-1"):
        write_dataset(tmp_path, {"train": -1})
    with pytest.raises(SettingsError, match="no photo in any split; draw 1 photo or more"):
        write_dataset(tmp_path, {"train": 0, "val": 0, "test": 0})
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="taken"):
        write_dataset(tmp_path / "taken", {"train": 1}, progress=False)


def test_photos_of_another_set_are_not_mixed_in(dataset):
    with pytest.raises(DataError, match=r"1 other files, such as val_0\.jpg"):
        write_dataset(dataset, {"train": 3, "test": 2}, progress=False)

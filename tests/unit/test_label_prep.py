import json
from pathlib import Path

import numpy as np
import pytest

from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.shelf.label_prep import prepare, prepare_labels


def photo(name: str, boxes: list[list[float]], split: str = "train", sha: str = "", group: str = "") -> Photo:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Photo(name, name, 10, sha or name, 100, 80, split, group or name, array)


GOOD = [10.0, 10.0, 30.0, 40.0]


def index_of(*photos: Photo) -> DatasetIndex:
    return DatasetIndex(list(photos), "store", {"name": "test", "licence": "ours"})


def test_boxes_are_clipped_to_the_photo() -> None:
    index, report = prepare_labels(index_of(photo("a", [[-5, -5, 20, 20], [90, 70, 140, 90], GOOD])))
    assert index.photos[0].boxes.tolist() == [[0, 0, 20, 20], [90, 70, 100, 80], GOOD]
    assert report.boxes_clipped == 2
    assert report.boxes_kept == 3


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([10, 10, 11, 40], "thin"),
        ([10, 10, 10, 40], "thin"),
        ([30, 10, 10, 40], "thin"),
        ([10, 40, 30, 41], "thin"),
        ([200, 10, 240, 40], "outside"),
        ([-50, 10, 0.5, 40], "outside"),
        ([10, float("nan"), 30, 40], "not_finite"),
        ([10, 10, float("inf"), 40], "not_finite"),
        (GOOD, "twice"),
    ],
)
def test_an_unfit_box_is_dropped_and_counted(box: list[float], reason: str) -> None:
    index, report = prepare_labels(index_of(photo("a", [GOOD, box])))
    assert index.photos[0].boxes.tolist() == [GOOD]
    assert {name: count for name, count in report.boxes_dropped.items() if count} == {reason: 1}


def test_a_box_just_over_one_pixel_stays() -> None:
    index, _ = prepare_labels(index_of(photo("a", [[10, 10, 11.5, 11.5]])))
    assert len(index.photos[0].boxes) == 1


def test_the_order_of_boxes_stays() -> None:
    boxes = [[50.0, 10.0, 60.0, 20.0], GOOD, [1.0, 1.0, 9.0, 9.0]]
    index, _ = prepare_labels(index_of(photo("a", [*boxes, boxes[0]])))
    assert index.photos[0].boxes.tolist() == boxes


def test_repeated_photos_leave_train_only() -> None:
    index, report = prepare_labels(
        index_of(
            photo("first", [GOOD], sha="x"),
            photo("second", [GOOD], sha="x"),
            photo("leak", [GOOD, GOOD], sha="y"),
            photo("judge", [GOOD], "test", sha="y"),
            photo("v1", [GOOD], "val", sha="z"),
            photo("v2", [GOOD], "val", sha="z"),
        )
    )
    assert [found.name for found in index.photos] == ["first", "judge", "v1", "v2"]
    assert report.photos_dropped == {
        "second": "the same photo as first in train",
        "leak": "the same photo as judge in test",
    }
    assert report.photos_repeated_elsewhere == {"v2": "v1"}
    assert report.boxes_dropped["repeated_photo"] == 3


def test_a_val_photo_stays_when_a_repeat_of_its_name_leaves_train() -> None:
    index, report = prepare_labels(
        index_of(
            photo("first", [GOOD], sha="x"),
            photo("1.jpg", [GOOD], sha="x"),
            photo("1.jpg", [GOOD], "val", sha="y"),
        )
    )
    assert [(found.split, found.name) for found in index.photos] == [("train", "first"), ("val", "1.jpg")]
    assert report.photos_read == report.photos_kept + len(report.photos_dropped)


def test_counts_add_up() -> None:
    rng = np.random.default_rng(0)
    photos = [
        photo(
            f"{n}",
            rng.uniform(-40, 140, (50, 4)).round().tolist(),
            ("train", "val", "test")[n % 3],
            f"{n % 20}",
        )
        for n in range(30)
    ]
    index, report = prepare_labels(index_of(*photos))
    assert report.boxes_read == 1500
    assert report.boxes_read == report.boxes_kept + sum(report.boxes_dropped.values())
    assert report.photos_read == report.photos_kept + len(report.photos_dropped)
    assert report.boxes_kept == sum(len(found.boxes) for found in index.photos)
    assert report.boxes_kept == sum(split.boxes for split in report.splits.values())
    assert report.digest == index.digest


def test_preparing_twice_changes_nothing() -> None:
    once, _ = prepare_labels(index_of(photo("a", [[-5, 0, 20, 20], GOOD, GOOD])))
    twice, report = prepare_labels(once)
    assert twice.digest == once.digest
    assert report.boxes_clipped == 0
    assert not any(report.boxes_dropped.values())


def test_what_deserves_a_look_is_named() -> None:
    _, report = prepare_labels(
        index_of(
            photo("empty", []), photo("a", [GOOD], group="shop"), photo("b", [GOOD], "val", group="shop")
        )
    )
    assert report.photos_empty == ["empty"]
    assert report.groups_in_two_splits == ["shop"]


def test_prepare_writes_index_and_reports(tmp_path: Path) -> None:
    index = index_of(photo("a<b>.jpg", [GOOD, [-3, 0, 20, 20]]), photo("v", [GOOD, GOOD], "val"))
    index.write(tmp_path / "raw.parquet")
    report = prepare(tmp_path / "raw.parquet", tmp_path / "out")
    again = DatasetIndex.read(tmp_path / "out/index.parquet")
    assert again.digest == report.digest
    assert again.metadata["licence"] == "ours"
    assert again.metadata["made_from"] == index.digest
    told = json.loads((tmp_path / "out/report.json").read_text())
    assert told["boxes_clipped"] == 1
    assert told["boxes_dropped"]["twice"] == 1
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "the same box is there already" in page
    assert "a<b>" not in page
    assert "3 of 4 boxes kept" in report.markdown()
    assert report.metrics()["boxes_dropped_twice"] == 1


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    index_of(photo("a", [[5, 5, 5, 5]])).write(tmp_path / "raw.parquet")
    with pytest.raises(DataError, match="none of its 1 boxes"):
        prepare(tmp_path / "raw.parquet", tmp_path / "out")
    assert not (tmp_path / "out/index.parquet").exists()

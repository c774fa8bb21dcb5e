"""Ingest of photos and rows that are not what they should be: counted, named, left out or kept."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stocktake.dataset import TruthVoid
from stocktake.errors import DataError
from tests.sku110k_set import HEIGHT, WIDTH, add_row, encode, make_archive, make_set, row, take


def test_what_cannot_be_decoded_is_named_and_left_out(shelves, tmp_path):
    whole = encode(0)
    noisy = encode(1, shape=(600, 800, 3))
    bad = {
        "train_0.jpg": whole[: len(whole) // 2],
        "train_1.jpg": whole[:-2],
        "train_2.jpg": b"",
        "train_3.jpg": b"<html>not found</html>",
        "train_4.jpg": noisy[: len(noisy) - 200],
    }
    for name, data in bad.items():
        (shelves / "images" / name).write_bytes(data)
    report, index = take(shelves, tmp_path)
    assert report.left_out["unreadable"].keys() == bad.keys()
    assert "truncated" in report.left_out["unreadable"]["train_0.jpg"]
    assert report.rows_left_out == {"unreadable": 10}
    assert index.metadata["left_out"] == {"unreadable": sorted(bad)}
    assert [photo.name for photo in index.split("train")] == ["train_5.jpg"]
    again, _ = take(shelves, tmp_path)
    assert again.left_out == report.left_out
    with pytest.raises(
        DataError, match=r"5 photos cannot be read, the first is train_0\.jpg: .*exclude='unreadable'"
    ):
        take(shelves, tmp_path, exclude="none")


def test_an_unreadable_photo_of_an_archive_is_not_stored(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(encode()[:-20])
    take(make_archive(shelves, tmp_path / "set.tar"), tmp_path, store=str(tmp_path / "store"))
    assert len(list((tmp_path / "store/datasets/set/images").iterdir())) == 10


def test_the_strict_list_is_kept_with_the_index(tmp_path):
    shelves = make_set(tmp_path / "shelves", {"train": 40, "test": 23})
    report, index = take(shelves, tmp_path, exclude="strict")
    assert index.metadata["left_out"] == {"excluded": ["test_22.jpg", "train_38.jpg"]}
    assert index.metadata["exclude"] == "strict"
    assert (report.photos_kept, report.rows_left_out) == (61, {"excluded": 4})
    assert take(shelves, tmp_path)[0].photos_kept == 63


def test_photos_without_rows_and_rows_without_photos(shelves, tmp_path):
    (shelves / "images/extra.jpg").write_bytes(encode(50))
    add_row(shelves, row("gone.jpg") * 3)
    report, index = take(shelves, tmp_path)
    assert report.left_out == {"no_rows": {"extra.jpg": "no annotation file has a row for it"}}
    assert report.missing == ["gone.jpg"]
    assert report.rows_left_out == {"photo_missing": 3}
    assert len(index.photos) == 11


def test_a_photo_in_two_splits_is_used_once(shelves, tmp_path):
    add_row(shelves, row("test_0.jpg"), "train")
    report, index = take(shelves, tmp_path)
    assert [photo.split for photo in index.photos if photo.name == "test_0.jpg"] == ["test"]
    assert report.rows_left_out == {"second_split": 1}
    assert report.remarks["in two splits"] == {"test_0.jpg": "used in test only"}


def test_odd_boxes_are_counted_and_kept_for_label_prep(shelves, tmp_path):
    for box in ("-3,2,30,40", "1,2,200,40", "5,5,5,40", "9,5,8,6"):
        add_row(shelves, row("train_0.jpg", box))
    report, _ = take(shelves, tmp_path)
    assert (report.boxes_outside, report.boxes_degenerate) == (2, 2)
    assert report.boxes_kept == 26


def test_sizes_that_contradict_the_photo_are_left_out(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(encode(shape=(32, 32, 3)))
    add_row(shelves, row("train_1.jpg", size="10,10"))
    report, index = take(shelves, tmp_path)
    assert index.metadata["left_out"] == {"wrong_size": ["train_0.jpg", "train_1.jpg"]}
    assert report.left_out["wrong_size"] == {
        "train_0.jpg": "its rows say 96x64, the photo has 32x32",
        "train_1.jpg": "its rows give several sizes: 10x10, 96x64",
    }
    assert report.rows_left_out == {"wrong_size": 5}


def save_with_pillow(path: Path, image: Image.Image, **options) -> None:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(("given", "turned"), [((WIDTH, HEIGHT), True), ((HEIGHT, WIDTH), False)])
def test_boxes_follow_the_exif_rotation(shelves, tmp_path, given, turned):
    """The rows' size tells whether the boxes are in the frame of the stored or of the upright photo."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = shelves / "images/turned.jpg"
    save_with_pillow(path, Image.new("RGB", (WIDTH, HEIGHT)), format="JPEG", exif=exif)
    add_row(shelves, row("turned.jpg", "10,5,30,15", "{},{}".format(*given)))
    voids = "image_name,x1,y1,x2,y2,tier,facings,kind\nturned.jpg,40,20,70,30,2,3,gap\n"
    (shelves / "annotations/voids_train.csv").write_text(voids)
    report, index = take(shelves, tmp_path)
    (photo,) = [photo for photo in index.photos if photo.name == "turned.jpg"]
    assert (photo.width, photo.height) == (HEIGHT, WIDTH)
    assert photo.boxes.tolist() == ([[HEIGHT - 15, 10, HEIGHT - 5, 30]] if turned else [[10, 5, 30, 15]])
    expected = (HEIGHT - 30, 40, HEIGHT - 20, 70) if turned else (40, 20, 70, 30)
    assert photo.voids == (TruthVoid(expected, 2, 3, "gap"),)
    assert report.remarks["has an EXIF rotation"] == {"turned.jpg": "orientation 6"}
    assert ("boxes turned with the EXIF rotation" in report.remarks) == turned


def test_odd_encodings_are_kept_and_named(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(encode(suffix=".png"))
    save_with_pillow(shelves / "images/train_1.jpg", Image.new("CMYK", (WIDTH, HEIGHT)), format="JPEG")
    deep = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    (shelves / "images/train_2.jpg").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    (shelves / "images/train_3.jpg").write_bytes(encode(shape=(HEIGHT, WIDTH)))
    report, index = take(shelves, tmp_path)
    assert len(index.photos) == 11
    assert report.remarks["not what its name says"] == {
        "train_0.jpg": "png inside",
        "train_2.jpg": "png inside",
    }
    assert report.remarks["not plain RGB or grey"] == {"train_1.jpg": "CMYK", "train_2.jpg": "I;16"}

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from stocktake.errors import DataError
from stocktake.shelf.annotations import Annotations, upright_boxes

ROW = "train_0.jpg,1,2,30,40,object,100,80\n"
VOID_HEADER = "image_name,x1,y1,x2,y2,tier,facings,kind\n"


def read(**files: str) -> Annotations:
    annotations = Annotations()
    for name, text in files.items():
        annotations.add(f"{name}.csv", text.encode())
    annotations.finish()
    return annotations


def test_rows_become_boxes_as_they_stand():
    rows = ROW + "train_0.jpg,-5,2,130,1,object,100,80\n" + "train_1.jpg,1,2,3,4,object,50,60\r\n\n"
    found = read(annotations_train=rows, annotations_test="test_0.jpg,1.5,2,3,4,object,9,9")
    assert found.rows == 4
    assert found.photos["train_0.jpg"].boxes.tolist() == [[1, 2, 30, 40], [-5, 2, 130, 1]]
    assert found.photos["train_0.jpg"].boxes.dtype == np.float32
    assert found.photos["train_1.jpg"].sizes == {(50, 60)}
    assert found.photos["test_0.jpg"].split == "test"
    assert found.photos["test_0.jpg"].boxes.tolist() == [[1.5, 2, 3, 4]]
    assert found.classes == {"object": 4}
    assert not found.knows_voids


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROW + "train_1.jpg,1,2,3,4,object,100\n",
            r"annotations_train\.csv:2: 8 columns were expected.*found 7: train_1",
        ),
        (
            ROW + ROW + "a.jpg,1,two,3,4,object,9,9\n",
            r"train\.csv:3: column y1 must be a number, found 'two'",
        ),
        ("a.jpg,1,2,3,4,object,9,\n", r"train\.csv:1: column image_height must be a number, found ''"),
        ("a.jpg,1,nan,3,4,object,9,9\n", "column y1 must be a number, found 'nan'"),
        ("a.jpg,1,2,3,4,object,0,9\n", r"train\.csv:1: the photo's size 0x9 is impossible"),
        (
            "image_name,x1,y1,x2,y2,class,image_width,image_height\n",
            r"found 'x1'; these files have no header",
        ),
        ("../a.jpg,1,2,3,4,object,9,9\n", "must be a plain file name, found '../a.jpg'"),
        ("", "no annotation rows were found; expected some of annotations_train.csv"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(text, message):
    with pytest.raises(DataError, match=message):
        read(annotations_train=text)


def test_a_file_that_is_not_text_is_refused():
    with pytest.raises(DataError, match=r"annotations_val\.csv: not a CSV file in UTF-8"):
        Annotations().add("annotations_val.csv", b"\xff\xfe\x00")


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_a_photo_in_two_splits_is_used_for_testing_only(order):
    rows = {"train": "both.jpg,1,1,2,2,object,9,9\n" * 3, "test": "both.jpg,3,3,4,4,object,9,9\n"}
    found = read(**{f"annotations_{split}": rows[split] for split in order})
    assert found.photos["both.jpg"].split == "test"
    assert found.photos["both.jpg"].boxes.tolist() == [[3, 3, 4, 4]]
    assert found.repeated == {"both.jpg": 3}
    assert found.rows == found.photos["both.jpg"].rows + 3


@pytest.mark.parametrize("voids_first", [False, True])
def test_voids_go_to_their_photos(voids_first):
    voids = VOID_HEADER + "train_0.jpg,5,6,7,8,2,3,gap\n"
    files = {"annotations_train": ROW, "voids_train": voids}
    found = read(**dict(reversed(files.items())) if voids_first else files)
    assert found.knows_voids
    (void,) = found.photos["train_0.jpg"].voids
    assert (void.box, void.tier, void.facings, void.kind) == ((5, 6, 7, 8), 2, 3, "gap")


@pytest.mark.parametrize(
    ("voids", "message"),
    [
        ("image,x\n", r"voids_train\.csv:1: 8 columns"),
        (
            VOID_HEADER.replace("tier", "row"),
            "the header image_name,x1,y1,x2,y2,tier,facings,kind was expected",
        ),
        (VOID_HEADER + "nobody.jpg,5,6,7,8,2,3,gap\n", "nobody.jpg has no rows in annotations_train"),
        (VOID_HEADER + "train_0.jpg,5,6,7,8,low,3,gap\n", "voids_train.csv:2: column tier must be a number"),
        (
            VOID_HEADER + "train_0.jpg,5,6,7,8,0,3,gap\n",
            "2: column tier must be a whole number from 1, found 0",
        ),
        (VOID_HEADER + "train_0.jpg,5,6,7,8,2,1.5,gap\n", "facings must be a whole number from 1, found 1.5"),
        (VOID_HEADER + "train_0.jpg,5,6,7,8,2,3,low-stock\n", "voids_train.csv:2: kind must be one of gap, "),
    ],
)
def test_bad_voids_are_refused(voids, message):
    with pytest.raises(DataError, match=message):
        read(annotations_train=ROW, voids_train=voids)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pillow_turns_the_pixels(orientation):
    stored = np.zeros((40, 60), np.uint8)
    stored[5:15, 20:50] = 255
    box = np.array([[20, 5, 50, 15]], np.float32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    x1, y1, x2, y2 = upright_boxes(box, 60, 40, orientation)[0].astype(int)
    expected = np.zeros_like(upright)
    expected[y1:y2, x1:x2] = 255
    assert np.array_equal(upright, expected)

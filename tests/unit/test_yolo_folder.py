import hashlib

import cv2
import numpy as np
import pytest

from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.shelf.yolo_folder import read_yolo_folder
from stocktake.shelf.yolo_labels import write_tree

BOXES = np.array([[10, 20, 40, 60], [50, 20, 90, 60]], np.float32)


@pytest.fixture
def tree(tmp_path):
    """What `stocktake shelf prepare` writes, of one photo per split."""
    source = tmp_path / "photos"
    source.mkdir()
    photos = []
    for number, split in enumerate(("train", "val", "test")):
        path = source / f"{split}_0.jpg"
        cv2.imwrite(str(path), np.full((80, 100, 3), 60 * number, np.uint8))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        photos.append(Photo(path.name, path.name, len(data), digest, 100, 80, split, path.stem, BOXES))
    return write_tree(
        DatasetIndex(photos, str(source)), tmp_path / "tree", tmp_path / "cache", progress=False
    )


def test_reads_back_what_prepare_wrote(tree):
    index = read_yolo_folder(tree, progress=False)

    assert [(photo.name, photo.split) for photo in index.photos] == [
        ("images/train/train_0.jpg", "train"),
        ("images/val/val_0.jpg", "val"),
        ("images/test/test_0.jpg", "test"),
    ]
    for photo in index.photos:
        assert (photo.width, photo.height) == (100, 80)
        np.testing.assert_allclose(photo.boxes, BOXES, atol=1e-3)


def test_counts_photos_without_labels_and_unreadable_ones(tree):
    (tree.parent / "labels" / "val" / "val_0.txt").unlink()
    broken = tree.parent / "images" / "test" / "test_0.jpg"
    data = broken.read_bytes()
    broken.unlink()  # it may be a hard link into the cache
    broken.write_bytes(data[: len(data) // 2])

    index = read_yolo_folder(tree, progress=False)

    assert index.metadata["unlabelled"] == ["images/val/val_0.jpg"]
    assert len(index.split("val")[0].boxes) == 0
    assert index.split("test") == []
    (why,) = index.metadata["left_out"]["unreadable"]
    assert why.startswith("images/test/test_0.jpg: ")


def test_one_file_name_in_two_splits_is_two_photos(tree, tmp_path):
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        for split in ("train", "val"):
            folder = tree.parent / kind / split
            (folder / f"{split}_0.{suffix}").rename(folder / f"0.{suffix}")

    index = read_yolo_folder(tree, progress=False)
    index.write(tmp_path / "index.parquet")

    names = [photo.name for photo in DatasetIndex.read(tmp_path / "index.parquet").photos]
    assert names == ["images/train/0.jpg", "images/val/0.jpg", "images/test/test_0.jpg"]
    assert len({photo.group for photo in index.photos}) == 3
    again = write_tree(index, tmp_path / "again", tmp_path / "cache", progress=False)
    assert len(list((again.parent / "images").glob("*/*.jpg"))) == 3


def test_a_split_may_be_several_folders(tree):
    tree.write_text("train: [images/train, images/test]\nval: images/val\nnames: {0: product}\n")

    index = read_yolo_folder(tree, progress=False)

    names = [photo.name for photo in index.split("train")]
    assert names == ["images/train/train_0.jpg", "images/test/test_0.jpg"]


def test_a_photo_outside_the_root_has_its_whole_path_for_a_name(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    config = tmp_path / "elsewhere" / "data.yaml"
    config.write_text(f"train: {tree.parent}/images/train\nval: {tree.parent}/images/val\n")

    index = read_yolo_folder(config, progress=False)

    assert index.photos[0].name == (tree.parent / "images/train/train_0.jpg").as_posix()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: [", "not YAML"),
        ("names: [object]", "train and val"),
        ("train: images/train\nval: images/val\nnc: 80", "one class"),
        ("train: images/none\nval: images/val", "no photos for train"),
        ("train: 7\nval: images/val", "train is 7; it must be a folder"),
        ("train: images/train\nval: [images/val, 3]", r"val is \['images/val', 3\]; it must be a folder"),
        ("train: images/train\nval: images/val\nnames: 5", "names is 5; it must be a list"),
        ("train: images/train\nval: images/val\nnames: [a, b]", "it has 2 classes"),
        ("train: images/train\nval: images/val\npath: 3", "path is 3; it must be a folder"),
    ],
)
def test_refuses_a_bad_data_yaml(tree, text, complaint):
    tree.write_text(text)

    with pytest.raises(DataError, match=complaint):
        read_yolo_folder(tree, progress=False)


def test_names_the_label_file_and_its_line(tree):
    labels = tree.parent / "labels" / "train" / "train_0.txt"
    labels.write_text("0 0.5 0.5 0.1\n")

    with pytest.raises(DataError, match=r"train_0\.txt.*line 1|train_0\.txt.*1"):
        read_yolo_folder(tree, progress=False)


def test_names_a_label_file_that_is_no_text(tree):
    (tree.parent / "labels" / "train" / "train_0.txt").write_bytes(b"\xff\xfe0")

    with pytest.raises(DataError, match=r"train_0\.txt: not text in UTF-8"):
        read_yolo_folder(tree, progress=False)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"retail\.yaml: there is no such file"):
        read_yolo_folder(tmp_path / "retail.yaml")

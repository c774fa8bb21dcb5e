import hashlib
import multiprocessing
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.shelf.yolo_labels import format_labels, parse_labels, write_tree

WIDTH, HEIGHT = 64, 48


def make_index(folder: Path, photos: dict[str, str], data: bytes | None = None) -> DatasetIndex:
    """Photos name -> split, each another picture with one box."""
    rows = []
    for number, (name, split) in enumerate(photos.items()):
        pixels = np.full((HEIGHT, WIDTH, 3), 40 + 10 * number, np.uint8)
        content = data or cv2.imencode(".jpg", pixels)[1].tobytes()
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        boxes = np.array([[8, 12, 24, 36]], np.float32)
        rows.append(Photo(name, name, len(content), digest, WIDTH, HEIGHT, split, name, boxes))
    return DatasetIndex(rows, str(folder / "photos"))


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_label_text_is_centre_and_size_with_six_decimals() -> None:
    text = format_labels(np.array([[8, 12, 24, 36], [0, 0, 64, 48]], np.float32), WIDTH, HEIGHT)
    assert text == "0 0.250000 0.500000 0.250000 0.500000\n0 0.500000 0.500000 1.000000 1.000000\n"


sides = st.tuples(st.integers(10, 6000), st.integers(10, 6000))
shares = st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=20)


@given(sides, shares)
def test_labels_come_back_within_a_thousandth_of_a_pixel(size: tuple[int, int], corners: list[tuple]) -> None:
    width, height = size
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]).reshape(-1, 4)
    boxes = (boxes * [width, height, width, height]).astype(np.float32)
    again = parse_labels(format_labels(boxes, width, height), width, height)
    assert again.shape == boxes.shape
    assert again.dtype == np.float32
    assert np.abs(again - boxes).max(initial=0) <= 1e-6 * max(size) + 1e-3


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.1", "0 0.5 0.5 0.1 1.2", "0 a b c d", "nan", "0 0.5 0.5 nan 0.1"]
)
def test_a_malformed_label_line_is_named(line: str) -> None:
    with pytest.raises(DataError, match="label line 2"):
        parse_labels(f"0 0.5 0.5 0.1 0.1\n{line}\n", WIDTH, HEIGHT)


def test_tree_has_the_layout_of_yolov5(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"a.jpg": "train", "b.jpg": "val", "c.png.jpg": "test"})
    data_yaml = write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    assert set(tree_of(tmp_path / "tree")) == {
        ".stocktake-tree",
        "data.yaml",
        *("images/train/a.jpg", "images/val/b.jpg", "images/test/c.png.jpg"),
        *("labels/train/a.txt", "labels/val/b.txt", "labels/test/c.png.txt"),
    }
    config = yaml.safe_load(data_yaml.read_text())
    assert config == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "nc": 1,
        "names": {0: "object"},
    }
    assert (tmp_path / "tree/images/train/a.jpg").read_bytes() == (tmp_path / "photos/a.jpg").read_bytes()
    assert (tmp_path / "tree/labels/train/a.txt").read_text() == "0 0.250000 0.500000 0.250000 0.500000\n"


@pytest.mark.parametrize("is_relative", [False, True])
def test_ultralytics_reads_a_tree_that_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_relative: bool
) -> None:
    from stocktake.shelf.ultralytics_setup import load_ultralytics

    load_ultralytics()
    from ultralytics.data.utils import check_det_dataset

    index = make_index(tmp_path, {"a.jpg": "train", "b.jpg": "val"})
    data_yaml = write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    data_yaml.parent.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    found = check_det_dataset(str(Path("moved/data.yaml") if is_relative else tmp_path / "moved/data.yaml"))
    assert found["nc"] == 1
    assert found["train"] == str(tmp_path / "moved/images/train")
    assert found["val"] == str(tmp_path / "moved/images/val")
    assert "test" not in found or not found["test"]


def test_writing_again_gives_the_same_tree_and_leaves_nothing_stale(tmp_path: Path) -> None:
    first = make_index(tmp_path, {"a.jpg": "train", "b.jpg": "val"})
    write_tree(first, tmp_path / "tree", tmp_path / "cache", progress=False)
    before = tree_of(tmp_path / "tree")
    (tmp_path / "tree/labels/train.cache").write_text("of the trainer")
    (tmp_path / "tree/images/train/gone.jpg").write_text("of another index")
    write_tree(first, tmp_path / "tree", tmp_path / "cache", progress=False)
    assert tree_of(tmp_path / "tree") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "photos", "tree"]


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="something else"):
        write_tree(make_index(tmp_path, {"a.jpg": "train"}), tmp_path / "tree", tmp_path / "cache")
    assert (tmp_path / "tree/thesis.tex").read_text() == "years of work"


def test_a_data_set_that_is_in_yolos_layout_already_is_refused_and_kept(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"a.jpg": "train"})
    write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    (tmp_path / "tree/.stocktake-tree").unlink(missing_ok=True)  # now it is anybody's
    before = tree_of(tmp_path / "tree")
    with pytest.raises(DataError, match="something else than a tree that stocktake made"):
        write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    assert tree_of(tmp_path / "tree") == before


KILLED = 9
STEPS = {"os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir"}


def write_and_die(index: DatasetIndex, folder: Path, steps: int) -> None:
    """Write the tree, but end as a killed process does, after this many changes of the disk."""
    left = steps

    def count(event: str, _: tuple) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left < 0:
                os._exit(KILLED)

    sys.addaudithook(count)
    write_tree(index, folder / "tree", folder / "cache", progress=False)


def test_a_kill_at_any_moment_leaves_a_whole_tree_or_none_and_can_be_made_good(tmp_path: Path) -> None:
    old = make_index(tmp_path, {"a.jpg": "train", "b.jpg": "val"})
    new = DatasetIndex(old.photos[:1], old.store)
    trees = []
    for index in (new, old):
        write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
        trees.append(tree_of(tmp_path / "tree"))
    context = multiprocessing.get_context("fork")
    for steps in range(1000):
        child = context.Process(target=write_and_die, args=(new, tmp_path, steps))
        child.start()
        child.join()
        assert not (tmp_path / "tree").exists() or tree_of(tmp_path / "tree") in trees
        if child.exitcode != KILLED:
            break
        write_tree(old, tmp_path / "tree", tmp_path / "cache", progress=False)
        assert tree_of(tmp_path / "tree") == trees[1]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "photos", "tree"]
    assert child.exitcode == 0
    assert steps > 15


def test_a_neighbour_that_is_not_ours_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / ".tree.old").mkdir()
    (tmp_path / ".trees.0123456789ab.part").mkdir()
    write_tree(make_index(tmp_path, {"a.jpg": "train"}), tmp_path / "tree", tmp_path / "cache")
    assert {".tree.old", ".trees.0123456789ab.part"} <= {path.name for path in tmp_path.iterdir()}


def test_a_link_to_a_tree_stays_one(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"a.jpg": "train"})
    write_tree(index, tmp_path / "disk/tree", tmp_path / "cache", progress=False)
    (tmp_path / "tree").symlink_to(tmp_path / "disk/tree")
    write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    assert (tmp_path / "tree").is_symlink()
    assert (tmp_path / "tree/images/train/a.jpg").is_file()


def test_photos_that_would_share_a_label_file_are_refused(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"a.jpg": "train", "a.png": "train"})
    with pytest.raises(DataError, match=r"a\.jpg and a\.png"):
        write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    assert not (tmp_path / "tree").exists()


def test_a_failure_leaves_the_old_tree(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"a.jpg": "train"})
    write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
    before = tree_of(tmp_path / "tree")
    (tmp_path / "photos/a.jpg").write_bytes(b"changed since it was ingested")
    with pytest.raises(DataError, match="changed since"):
        write_tree(index, tmp_path / "tree", tmp_path / "other cache", progress=False)
    assert tree_of(tmp_path / "tree") == before


class TestTheTrainerCannotReachTheCache:
    """ultralytics "restores" a JPEG without an end marker by writing the file again."""

    @pytest.fixture
    def whole(self) -> bytes:
        return cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()

    def tree_photo(self, tmp_path: Path, data: bytes) -> tuple[Path, Path]:
        index = make_index(tmp_path, {"a.jpg": "train"}, data)
        write_tree(index, tmp_path / "tree", tmp_path / "cache", progress=False)
        return tmp_path / "tree/images/train/a.jpg", tmp_path / "cache" / index.photos[0].sha256

    def test_a_whole_photo_is_linked_and_costs_no_space(self, tmp_path: Path, whole: bytes) -> None:
        photo, cached = self.tree_photo(tmp_path, whole)
        assert photo.samefile(cached)

    def test_a_jpeg_without_end_marker_is_a_copy(self, tmp_path: Path, whole: bytes) -> None:
        damaged = whole[:-2]
        photo, cached = self.tree_photo(tmp_path, damaged)
        assert not photo.samefile(cached)
        photo.write_bytes(b"overwritten in place")  # the worst that any version of the trainer could do
        assert cached.read_bytes() == damaged
        assert (tmp_path / "photos/a.jpg").read_bytes() == damaged

    def test_ultralytics_restores_its_copy_only(self, tmp_path: Path, whole: bytes) -> None:
        from stocktake.shelf.ultralytics_setup import load_ultralytics

        load_ultralytics()
        from ultralytics.data.utils import check_image

        damaged = whole + b"\0\0"  # bytes after the end marker
        photo, cached = self.tree_photo(tmp_path, damaged)
        message, _ = check_image(str(photo))
        assert "restored" in message
        assert photo.read_bytes() != damaged
        assert cached.read_bytes() == damaged
        assert (tmp_path / "photos/a.jpg").read_bytes() == damaged

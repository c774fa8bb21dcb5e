"""Ingest, from every kind of source but S3, good and bad; counts always add up."""

import json
import tarfile
from pathlib import Path

import pytest

from stocktake.dataset import DatasetIndex, fetch_photos, read_photo_bytes
from stocktake.errors import DataError
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.sku110k_source import check_answers, open_source
from tests.sku110k_set import HEIGHT, WIDTH, encode, make_archive, make_set, take


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_folder_is_referenced_in_place_and_never_written(shelves, tmp_path):
    before = snapshot(shelves)
    report, index = take(shelves, tmp_path)
    assert snapshot(shelves) == before
    assert index.store == str(shelves)
    assert report.splits == {
        "train": {"photos": 6, "boxes": 12},
        "val": {"photos": 2, "boxes": 4},
        "test": {"photos": 3, "boxes": 6},
    }
    photo = index.split("test")[1]
    assert (photo.name, photo.uri, photo.width, photo.height) == (
        "test_1.jpg",
        "images/test_1.jpg",
        WIDTH,
        HEIGHT,
    )
    assert photo.boxes.tolist() == [[1, 2, 30, 40], [40, 2, 90, 60]]
    assert photo.voids is None
    assert read_photo_bytes(index, photo) == (shelves / "images/test_1.jpg").read_bytes()
    assert index.metadata["licence"].startswith("SKU-110K: academic")
    assert index.metadata["left_out"] == {}
    assert report.digest == index.digest


def test_the_report_is_written_for_machines_and_people(shelves, tmp_path):
    (shelves / "images/train_0.jpg").write_bytes(b"<script>")
    report, _ = take(shelves, tmp_path)
    assert json.loads((tmp_path / "out/report.json").read_text())["left_out"] == report.left_out
    page = (tmp_path / "out/report.html").read_text()
    assert "cannot be decoded to its last byte" in page
    assert "train_0.jpg" in page
    assert page.count("data:image/png;base64") == 1


def test_copy_puts_the_photos_into_the_store(shelves, tmp_path):
    _, index = take(shelves, tmp_path, store=str(tmp_path / "store"), copy=True)
    assert index.store == str(tmp_path / "store/datasets/shelves")
    assert (
        read_photo_bytes(index, index.photos[0]) == (shelves / "images" / index.photos[0].name).read_bytes()
    )


@pytest.mark.parametrize("photos_first", [False, True])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_gives_the_same_index_as_its_folder(shelves, tmp_path, photos_first, mode):
    archive = make_archive(shelves, tmp_path / "set.tar.gz", photos_first, mode)
    report, index = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert report.other_files == 1
    assert index.store == str(tmp_path / "store/datasets/set")
    ingest(str(shelves), tmp_path / "plain", progress=False)
    assert index.digest == DatasetIndex.read(tmp_path / "plain/index.parquet").digest
    paths = fetch_photos(index, index.photos, tmp_path / "cache", progress=False)
    for photo, path in zip(index.photos, paths, strict=True):
        assert path.read_bytes() == (shelves / "images" / photo.name).read_bytes()


def test_a_second_run_does_nothing_over(shelves, tmp_path):
    archive = make_archive(shelves, tmp_path / "set.tar.gz")
    first, before = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert (first.examined, first.known) == (11, 0)
    stored = snapshot(tmp_path / "store")
    second, after = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert (second.examined, second.known) == (0, 11)
    assert snapshot(tmp_path / "store") == stored
    assert after.digest == before.digest

    (lost,) = (tmp_path / "store/datasets/set/images").glob("train_3-*.jpg")
    lost.unlink()
    third, index = take(archive, tmp_path, store=str(tmp_path / "store"))
    assert (third.examined, third.known) == (1, 10)
    assert read_photo_bytes(index, index.photos[0])


def test_archives_of_one_name_keep_their_photos_apart(tmp_path):
    for number, folder in enumerate(("a", "b")):
        shelves = make_set(tmp_path / folder / "shelves")
        (shelves / "images/train_0.jpg").write_bytes(encode(100 + number))
        archive = make_archive(shelves, tmp_path / folder / "set.tar.gz")
        ingest(str(archive), tmp_path / folder / "out", store=str(tmp_path / "store"), progress=False)
    for folder in ("a", "b"):
        index = DatasetIndex.read(tmp_path / folder / "out/index.parquet")
        for photo in index.photos:
            source = tmp_path / folder / "shelves/images" / photo.name
            assert read_photo_bytes(index, photo) == source.read_bytes()


def test_a_changed_photo_is_read_again(shelves, tmp_path):
    take(shelves, tmp_path)
    (shelves / "images/train_2.jpg").write_bytes(encode(99))
    report, index = take(shelves, tmp_path)
    assert (report.examined, report.known) == (1, 10)
    (photo,) = [photo for photo in index.photos if photo.name == "train_2.jpg"]
    assert read_photo_bytes(index, photo) == encode(99)


def test_limit_takes_as_many_of_each_split(shelves, tmp_path):
    report, index = take(shelves, tmp_path, limit=2)
    assert [photo.name for photo in index.photos] == [
        f"{s}_{n}.jpg" for s in ("test", "train", "val") for n in (0, 1)
    ]
    assert len(report.left_out["beyond_limit"]) == 5
    assert report.missing == []
    archive = make_archive(shelves, tmp_path / "set.tar.gz", photos_first=True)
    _, limited = take(archive, tmp_path, limit=2, store=str(tmp_path / "store"))
    assert limited.digest == index.digest


def test_drawn_photos_bring_their_voids(shelves, tmp_path):
    text = "image_name,x1,y1,x2,y2,tier,facings,kind\ntrain_1.jpg,1,2,3,4,2,3,edge\n"
    (shelves / "annotations/voids_train.csv").write_text(text)
    report, index = take(shelves, tmp_path)
    voids = {photo.name: photo.voids for photo in index.photos}
    assert len(voids["train_1.jpg"]) == 1
    assert voids["train_0.jpg"] == ()
    assert "drawn" in report.licence


def test_an_archive_without_a_file(tmp_path):
    tarfile.open(tmp_path / "set.tar", "w").close()
    with pytest.raises(DataError, match=r"set\.tar: empty; expected the folders images and annotations"):
        check_answers(open_source(str(tmp_path / "set.tar")))


def test_a_photo_that_an_archive_holds_twice_is_used_once(shelves, tmp_path):
    path = make_archive(shelves, tmp_path / "set.tar", mode="w")
    with tarfile.open(path, "a") as tar:
        tar.add(shelves / "images/train_1.jpg", "SKU110K_fixed/images/train_0.jpg")
    report, index = take(path, tmp_path, store=str(tmp_path / "store"))
    assert report.repeated_files == 1
    (photo,) = [photo for photo in index.photos if photo.name == "train_0.jpg"]
    assert read_photo_bytes(index, photo) == (shelves / "images/train_0.jpg").read_bytes()

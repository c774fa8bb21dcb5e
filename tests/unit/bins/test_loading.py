import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.bins import loading
from stocktake.bins.augmentation import Change, augment, draw_change
from stocktake.bins.fitting import fit_bin
from stocktake.bins.loading import Waits, epoch_rows, make_batch, open_photos, read_ahead
from stocktake.dataset import DatasetIndex, Photo, fetch_photos
from stocktake.errors import DataError, StoreError
from stocktake.images import decode_photo
from tests.plain_bins import photo_bytes

IMG = 48
CLASSES = (0, 2, 5)
PLAIN = np.hstack([np.eye(3), np.zeros((3, 1))]).astype(np.float32)


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bins").mkdir()
    return DatasetIndex(
        [write_photo(tmp_path / "bins", number, quantity) for number, quantity in enumerate((0, 2, 5, 2, 5))],
        str(tmp_path / "bins"),
    )


def write_photo(folder, number, quantity):
    data = photo_bytes(str(number), (40, 30 + number))
    (folder / f"{number}.jpg").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Photo(
        f"photo {number}", f"{number}.jpg", len(data), digest, 40, 30 + number, "train", str(number),
        np.zeros((0, 4), np.float32), quantity=quantity,
    )  # fmt: skip


def photos_of(index, squares=""):
    return open_photos(index, "train", CLASSES, IMG, squares, progress=False)


class TestPhotos:
    @pytest.mark.parametrize("squares", ["", "disk", "off"])
    def test_are_letterboxed_as_they_are_served(self, index, squares):
        photos = photos_of(index, squares)
        paths = fetch_photos(index, index.split("train"), progress=False)
        for row, path in enumerate(paths):
            expected = fit_bin(decode_photo(path.read_bytes()), IMG).square
            assert np.array_equal(photos.squares.read(row), expected)
        assert photos.targets.tolist() == [0, 1, 2, 1, 2]
        assert len(photos) == 5
        assert photos.names[1] == index.split("train")[1].name

    def test_are_decoded_once(self, index, monkeypatch):
        photos_of(index)
        monkeypatch.setattr(loading, "decode_photo", lambda *_: pytest.fail("it was decoded again"))
        assert photos_of(index).squares.read(4).shape == (IMG, IMG, 3)

    def test_are_decoded_again_where_their_file_was_cut_short(self, index, tmp_path):
        whole = photos_of(index).squares.read(4)
        (path,) = (tmp_path / "cache/squares").glob("*.rgb")
        os.truncate(path, path.stat().st_size - 1)
        assert np.array_equal(photos_of(index).squares.read(4), whole)
        assert path.stat().st_size == 5 * 3 * IMG**2

    @pytest.mark.parametrize("squares", ["", "disk"])
    def test_a_disk_that_fills_up_meanwhile_is_an_error(self, index, squares, monkeypatch, tmp_path):
        monkeypatch.setattr(loading.os, "pwrite", lambda _file, data, _place: len(data) - 1)
        with pytest.raises(StoreError, match="the disk or the quota is full"):
            photos_of(index, squares)
        assert not list((tmp_path / "cache").glob("squares/*"))

    def test_of_another_size_or_order_have_a_file_of_their_own(self, index):
        photos_of(index)
        turned = DatasetIndex(index.photos[::-1], index.store)
        assert np.array_equal(photos_of(turned).squares.read(0), photos_of(index).squares.read(4))
        assert open_photos(index, "train", CLASSES, 32, progress=False).squares.read(0).shape == (32, 32, 3)

    def test_are_decoded_each_time_where_the_disk_is_full(self, index, monkeypatch, tmp_path):
        full = loading.shutil.disk_usage(tmp_path)._replace(free=10)
        monkeypatch.setattr(loading.shutil, "disk_usage", lambda _: full)
        assert photos_of(index).squares.read(0).shape == (IMG, IMG, 3)
        assert not (tmp_path / "cache/squares").exists()
        with pytest.raises(StoreError, match="squares 'off'"):
            photos_of(index, "disk")

    @pytest.mark.parametrize("squares", ["", "off"])
    def test_a_damaged_one_is_named(self, index, squares, tmp_path):
        path = tmp_path / "bins/2.jpg"
        path.write_bytes(path.read_bytes()[:-20])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        index.photos[2] = replace(index.photos[2], sha256=digest, length=path.stat().st_size)
        with pytest.raises(DataError, match=r"photo 2.*truncated"):
            photos_of(index, squares).squares.read(2)
        assert not list((tmp_path / "cache").glob("squares/*"))


class TestEpochs:
    @given(st.integers(1, 400), st.integers(1, 64), st.integers(0, 5), st.integers(1, 9))
    def test_see_every_photo_once_in_even_batches(self, count, size, seed, epoch):
        batches = epoch_rows(count, size, seed, epoch)
        assert sorted(np.concatenate(batches)) == list(range(count))
        lengths = [len(rows) for rows in batches]
        assert max(lengths) <= size
        assert max(lengths) - min(lengths) <= 1
        assert len(lengths) == -(-count // size)

    def test_have_an_order_of_their_own(self):
        def order(seed, epoch):
            return np.concatenate(epoch_rows(50, 8, seed, epoch)).tolist()

        assert order(0, 1) == order(0, 1)
        assert order(0, 1) != order(0, 2)
        assert order(0, 1) != order(1, 1)

    def test_a_photo_looks_the_same_whatever_batch_it_is_in(self, index):
        photos = photos_of(index)
        whole = make_batch(photos, 0, np.arange(5), seed=3, epoch=2, strength=1)
        part = make_batch(photos, 1, np.array([4, 1]), seed=3, epoch=2, strength=1)
        assert np.array_equal(part.images, whole.images[[4, 1]])
        assert part.targets.tolist() == [2, 1]
        other = make_batch(photos, 0, np.arange(5), seed=3, epoch=3, strength=1)
        assert not np.array_equal(other.images, whole.images)

    def test_without_augmentation_photos_are_as_they_are(self, index):
        photos = photos_of(index)
        batch = make_batch(photos, 0, np.arange(5))
        assert batch.images.dtype == np.uint8
        assert all(np.array_equal(batch.images[row], photos.squares.read(row)) for row in range(5))


class TestReadingAhead:
    @pytest.mark.parametrize("workers", [1, 2, 5])
    @pytest.mark.parametrize("count", [0, 1, 3, 12])
    def test_keeps_the_order(self, workers, count):
        assert list(read_ahead(lambda number: number, count, workers)) == list(range(count))

    def test_an_error_arrives_where_the_batch_would(self):
        def make(number):
            if number == 2:
                raise DataError("photo 2")
            return number

        batches = read_ahead(make, 5, 1)
        assert [next(batches), next(batches)] == [0, 1]
        with pytest.raises(DataError, match="photo 2"):
            next(batches)

    def test_never_holds_more_than_a_batch_per_thread_and_the_one_in_use(self):
        made = []
        batches = read_ahead(made.append, 100, 2)
        next(batches)
        assert len(made) <= 3

    def test_waiting_is_counted(self):
        waits = Waits(iter([1, 2]))
        assert list(waits) == [1, 2]
        assert waits.seconds > 0


class TestAugmentation:
    square = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)

    def test_nothing_changes_nothing(self):
        assert np.array_equal(augment(self.square, Change(False, PLAIN, 0.0)), self.square)

    def test_mirrors_left_and_right(self):
        assert np.array_equal(augment(self.square, Change(True, PLAIN, 0.0)), self.square[:, ::-1])

    def test_blurs(self):
        assert augment(self.square, Change(False, PLAIN, 1.0)).std() < 0.7 * self.square.std()

    def test_leaves_its_source_alone(self):
        before = self.square.copy()
        augment(self.square, draw_change(np.random.default_rng(1), 2.0))
        assert np.array_equal(self.square, before)

    def test_is_mild_and_grey_stays_grey(self):
        grey = np.full((4, 4, 3), 128, np.uint8)
        rng = np.random.default_rng(0)
        changed = [augment(grey, draw_change(rng, 1.0))[0, 0].astype(int) for _ in range(300)]
        assert all(np.ptp(pixel) <= 1 for pixel in changed)
        assert {60 < pixel[0] < 200 for pixel in changed} == {True}
        assert np.std([pixel[0] for pixel in changed]) > 10

    def test_half_are_mirrored_and_a_fifth_blurred(self):
        rng = np.random.default_rng(0)
        changes = [draw_change(rng, 1.0) for _ in range(2000)]
        assert np.mean([change.mirror for change in changes]) == pytest.approx(0.5, abs=0.04)
        assert np.mean([change.sigma > 0 for change in changes]) == pytest.approx(0.2, abs=0.04)
        assert max(change.sigma for change in changes) <= 1.2

    def test_light_is_clipped_and_not_wrapped(self):
        bright = Change(False, PLAIN * 1.5, 0.0)
        expected = np.clip(np.round(self.square * 1.5), 0, 255)
        assert np.abs(augment(self.square, bright) - expected).max() <= 1


def test_reading_does_not_disturb_another_thread(index):
    """A seek of one thread must not move the file under another."""
    photos = photos_of(index)
    rows = [number % 5 for number in range(400)]
    found = list(read_ahead(lambda number: photos.squares.read(rows[number]), 400, 8))
    expected = [photos.squares.read(row) for row in range(5)]
    assert all(np.array_equal(square, expected[row]) for square, row in zip(found, rows, strict=True))

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from stocktake.bins.split import (
    assign_splits,
    check_classes,
    leak,
    prepare,
    random_leak,
    split_bins,
)
from stocktake.bins.split_cells import count_cells, fill_cells, thin_cells
from stocktake.bins.split_hash import place_of, split_at
from stocktake.bins.split_report import SplitReport
from stocktake.cli import main
from stocktake.data_report import read_report
from stocktake.dataset import SPLITS, DatasetIndex, Photo
from stocktake.errors import DataError, SettingsError

CLASSES = (1, 2, 3, 4, 5)


def photo(bin_id: str, quantity: int | None, group: str = "", split: str = "") -> Photo:
    boxes = np.zeros((0, 4), np.float32)
    return Photo(f"{bin_id}.jpg", bin_id, 10, bin_id, 8, 8, split, group or bin_id, boxes, quantity=quantity)


def bins(count: int, per_group: int = 1, seed: int = 0, first: int = 1) -> list[Photo]:
    """Bins of 1 to 5 items, the photos of a group one apart."""
    rng = np.random.default_rng([seed, first])
    photos = []
    for number in range(count):
        group, quantity = number // per_group * per_group, int(rng.integers(1, 6))
        photos.append(photo(f"{first + number:06d}", quantity, f"{first + group:06d}"))
    return photos


def changing_bins(seed: int, groups: int) -> list[Photo]:
    """Groups of one to three photos whose counts change by one at most; no group begins with 5."""
    rng = np.random.default_rng([seed, groups])
    photos = []
    for group in range(groups):
        quantity = group % 4 + 1
        for mate in range(int(rng.integers(1, 4))):
            photos.append(photo(f"{10 * group + mate:06d}", quantity, f"{10 * group:06d}"))
            quantity = int(np.clip(quantity + rng.integers(-1, 2), 1, 5))
    return photos


def splits_of(photos: list[Photo], seed: int = 0) -> dict[str, str]:
    return assign_splits(photos, seed)[0]


def index_of(photos: list[Photo]) -> DatasetIndex:
    return DatasetIndex(photos, "store", {"name": "test", "licence": "ours", "source": "here"})


def test_places_are_even_and_known():
    assert place_of("00001", 0) == place_of("00001", 0) != place_of("00001", 1)
    assert place_of("00001", 0) != place_of("1", 0)
    # the first 8 bytes of sha256("0:00001"), as any other tool would work them out
    assert round(place_of("00001", 0), 6) == 0.564492
    counts = Counter(int(place_of(str(number), 0) * 10) for number in range(5000))
    assert set(counts) == set(range(10))
    assert all(430 < count < 570 for count in counts.values())


def test_borders_are_at_eight_and_nine_tenths():
    places = [0, 0.7999, 0.8, 0.8999, 0.9, 0.9999]
    assert [split_at(place) for place in places] == ["train", "train", "val", "val", "test", "test"]


def test_many_bins_are_split_by_their_hash_alone():
    photos = bins(20_000)
    splits, moved = assign_splits(photos, 0)
    assert moved == {}
    assert all(splits[photo.group] == split_at(place_of(photo.group, 0)) for photo in photos)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [300, 1000])
def test_each_class_is_split_eight_to_one_to_one(count, seed):
    photos = bins(count)
    splits = splits_of(photos, seed)
    for quantity in CLASSES:
        shares = Counter(splits[photo.group] for photo in photos if photo.quantity == quantity)
        total = shares.total()
        for split in ("val", "test"):
            assert 0.05 <= shares[split] / total <= 0.15


def test_a_group_is_in_one_split_and_counts_for_the_class_of_its_first_photo():
    photos = bins(900, per_group=3)
    splits, _ = assign_splits(photos, 0)
    assert set(splits) == {photo.group for photo in photos}
    firsts = {photo.group: photo.quantity for photo in reversed(photos)}
    for quantity in CLASSES:
        shares = Counter(splits[photo.group] for photo in photos if firsts[photo.group] == quantity)
        assert 0.05 <= shares["test"] / shares.total() <= 0.15
        assert 0.05 <= shares["val"] / shares.total() <= 0.15


def test_the_order_of_photos_does_not_matter():
    for photos in (bins(500, per_group=2), *(changing_bins(seed, 60) for seed in range(5))):
        assert splits_of(photos) == splits_of(photos[::-1])


def test_no_split_lacks_a_class_where_mates_differ():
    filled = {}
    for seed in range(20):
        photos = changing_bins(seed, 60)
        splits, moved = assign_splits(photos, 0)
        cells = {(photo.quantity, splits[photo.group]) for photo in photos}
        assert cells == {(count, split) for count in CLASSES for split in SPLITS}
        filled |= {(seed, group): text for group, text in moved.items() if "which had" in text}
        for group, text in moved.items():
            assert text.startswith(f"from {split_at(place_of(group, 0))} to {splits[group]}, ")
    assert 10 <= len(filled) <= 40
    for text in filled.values():
        assert re.fullmatch(r"from train to (val|test), which had no photo with \d items", text)


def test_a_class_gets_the_smallest_group_that_can_be_spared_and_of_these_the_nearest():
    held = {"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1,), "e": (1,), "f": (2,), "g": (2,)}
    photos = [photo(f"{group}{count}", count, group) for group in held for count in held[group]]
    splits = {"a": "train", "b": "train", "c": "train", "d": "train", "e": "test", "f": "test", "g": "val"}
    places = {"a": 0.79, "b": 0.5, "c": 0.2, "d": 0.6, "e": 0.95, "f": 0.99, "g": 0.85}
    assert fill_cells(photos, splits, places, ()) == {"d": ("val", 1)}
    assert fill_cells(photos, splits, places, {"d"}) == {"c": ("val", 1)}
    assert fill_cells(photos, splits, places, {"c", "d"}) == {"a": ("val", 1)}
    assert fill_cells(photos, splits, places, {"a", "c", "d"}) == {"b": ("val", 1)}
    assert fill_cells(photos, splits, places, set("abcd")) == {}  # the one of test is the only one there
    assert fill_cells(photos, splits | {"c": "val"}, places, ()) == {}


def test_another_seed_splits_in_another_way():
    photos = bins(500)
    other = splits_of(photos, 1)
    changed = sum(split != other[group] for group, split in splits_of(photos).items())
    assert 0.2 < changed / 500 < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_added_data_moves_few_and_no_photo_from_train_to_test(seed):
    old = bins(600, per_group=2, seed=seed)
    new = bins(600, per_group=2, seed=seed, first=5001)
    before, after = splits_of(old, seed), splits_of(old + new, seed)
    changed = [(before[group], after[group]) for group in before if before[group] != after[group]]
    assert len(changed) <= 0.06 * len(before)
    assert not {("train", "test"), ("test", "train")} & set(changed)


def test_added_data_moves_nothing_in_a_large_set():
    old, new = bins(10_000), bins(10_000, first=50_001)
    before, after = splits_of(old), splits_of(old + new)
    assert all(after[group] == split for group, split in before.items())


class TestKnownPhotos:
    def test_stay_in_their_split_where_their_group_grows_at_its_lower_end(self):
        photos = bins(600, per_group=3)
        later = [
            photo for number, photo in enumerate(photos) if number % 3
        ]  # without the first of each group
        named = [replace(photo, group=photo.name.removesuffix(".jpg")) for photo in later[::2]]
        before = assign_splits(named, 0)[0]
        known = {photo.name: before[photo.group] for photo in named}
        after, moved = assign_splits(photos, 0, known)
        assert all(after[photo.group] == known[photo.name] for photo in photos if photo.name in known)
        assert moved == {}
        assert sum(splits_of(photos)[photo.group] != known.get(photo.name, "") for photo in later[::2]) > 30

    def test_of_several_splits_that_became_one_group_go_where_nothing_learnt_is_tested(self):
        photos = [photo(f"{number:03d}", 1, "000") for number in range(3)]
        others = [photo(f"{number:03d}", 1) for number in range(100, 110)]
        for known, split in (
            ({"000.jpg": "test", "002.jpg": "train"}, "train"),
            ({"000.jpg": "test", "001.jpg": "val"}, "val"),
        ):
            splits, moved = assign_splits([*photos, *others], 0, known)
            assert splits["000"] == split
            assert moved == {"000": f"from test to {split}, where others of its photos were"}

    def test_leave_the_others_to_their_hash(self):
        old, new = bins(100), bins(300, first=5001)
        known = {photo.name: "val" for photo in old}
        splits, _ = assign_splits([*old, *new], 0, known)
        assert {splits[photo.group] for photo in old} == {"val"}
        assert all(splits[photo.group] == split_at(place_of(photo.group, 0)) for photo in new)

    def test_leave_cells_empty_which_is_said(self, tmp_path, caplog):
        photos = [photo(f"{number:03d}", 1 + number % 2) for number in range(40)]
        index_of(photos).write(tmp_path / "index.parquet")
        for split in ("train", "val"):
            index_of([replace(photo, split=split) for photo in photos]).write(tmp_path / f"{split}.parquet")
        prepare(tmp_path / "index.parquet", tmp_path / "out", (1, 2), keep=tmp_path / "train.parquet")
        cells = [f"{count} items, {split}" for count in (1, 2) for split in ("val", "test")]
        report = json.loads((tmp_path / "out/report.json").read_text())
        assert report["thin"] == dict.fromkeys(cells, "none of 20 photos")
        assert "1 items, val: none of 20 photos; 1 items, test" in caplog.text
        assert "2 items, test" in (tmp_path / "out/report.html").read_text()
        assert "Few: 2 items, test: none of 20" in read_report(SplitReport, tmp_path / "out").markdown()
        with pytest.raises(DataError, match="no photo with 1 items is in train"):
            prepare(tmp_path / "index.parquet", tmp_path / "out", (1, 2), keep=tmp_path / "val.parquet")

    def test_are_read_from_an_earlier_index(self, tmp_path):
        index_of(bins(300)).write(tmp_path / "old.parquet")
        index_of(bins(400)).write(tmp_path / "new.parquet")
        old = DatasetIndex.read(prepare(tmp_path / "old.parquet", tmp_path / "a", seed=3))
        arguments = ["bins", "prepare", str(tmp_path / "new.parquet"), "--out", str(tmp_path / "b")]
        assert main([*arguments, "--keep", str(tmp_path / "a/index.parquet")]) == 0
        new = DatasetIndex.read(tmp_path / "b/index.parquet")
        splits = {photo.name: photo.split for photo in new.photos}
        assert {photo.name: photo.split for photo in old.photos}.items() <= splits.items()
        assert new.metadata["kept_from"] == old.digest


def test_moved_groups_are_named():
    photos = bins(100)
    splits, moved = assign_splits(photos, 0)
    assert moved
    quantity = {photo.group: photo.quantity for photo in photos}
    for group, text in moved.items():
        hashed = split_at(place_of(group, 0))
        assert splits[group] != hashed
        assert text == f"from {hashed} to {splits[group]}, for the shares of {quantity[group]}"
    assert all(splits[group] == split_at(place_of(group, 0)) for group in splits if group not in moved)
    assert list(moved) == sorted(moved)


def test_the_groups_nearest_to_a_border_are_the_ones_that_move():
    for seed in range(8):
        photos = [photo(f"{number:05d}", 1) for number in range(60)]
        splits = splits_of(photos, seed)
        ranked = sorted(splits, key=lambda group: place_of(group, seed))
        order = [SPLITS.index(splits[group]) for group in ranked]
        assert order == sorted(order)


def test_three_bins_of_a_class_make_one_of_each_split():
    for seed in range(6):
        splits = splits_of([photo("1", 1), photo("2", 1), photo("3", 1)], seed)
        assert sorted(splits.values()) == ["test", "train", "val"]


def test_one_large_group_cannot_take_the_place_of_a_split():
    photos = [photo(f"{number}", 1, "1") for number in range(1, 40)] + [photo("90", 1), photo("95", 1)]
    for seed in range(6):
        assert sorted(splits_of(photos, seed).values()) == ["test", "train", "val"]


@pytest.mark.parametrize("groups", [1, 2])
def test_too_few_bins_of_a_class_are_an_error(groups):
    photos = bins(200) + [photo(f"9{number:05d}", 9, f"9{number % groups:05d}") for number in range(8)]
    with pytest.raises(
        DataError, match=rf"all photos with 9 items are of {groups} bins?, too few for train, val"
    ):
        assign_splits(photos, 0)


def test_empty_bins_can_be_a_class():
    photos = bins(60) + [photo(f"8{number:05d}", 0) for number in range(60)]
    _, moved = assign_splits(photos, 6)
    assert any(text.endswith("for the shares of 0") for text in moved.values())
    with pytest.raises(DataError, match="all photos with 0 items are of 2 bins"):
        assign_splits([*bins(60), photo("800001", 0), photo("800002", 0)], 0)


def test_the_leak_is_the_share_of_test_photos_with_a_mate_in_train():
    photos = [
        photo("1", 1, "1", "train"), photo("2", 1, "1", "test"), photo("3", 1, "1", "test"),
        photo("4", 1, "4", "test"), photo("5", 1, "4", "val"), photo("6", 1, "6", "test"),
    ]  # fmt: skip
    assert leak(photos) == 0.5
    assert leak(photos[:1]) == 0
    assert leak([]) == 0


def test_a_random_split_leaks_what_chance_says():
    assert random_leak(bins(400, per_group=2)) == pytest.approx(0.8)
    assert random_leak(bins(399, per_group=3)) == pytest.approx(0.96)
    assert random_leak(bins(10)) == 0
    assert random_leak([]) == 0
    photos = bins(4000, per_group=2)
    rng = np.random.default_rng(0)
    drawn = [replace(photo, split=split_at(rng.random())) for photo in photos]
    assert leak(drawn) == pytest.approx(random_leak(photos), abs=0.05)


def test_prepare_keeps_the_classes_and_reports(tmp_path):
    photos = [*bins(400, per_group=2), photo("70001", 0), photo("70002", 7), photo("70003", 7)]
    index = index_of(photos)
    index.write(tmp_path / "index.parquet")
    path = prepare(tmp_path / "index.parquet", tmp_path / "out")
    assert path == tmp_path / "out/index.parquet"
    prepared = DatasetIndex.read(path)
    assert prepared.metadata == {
        **index.metadata,
        "classes": [1, 2, 3, 4, 5],
        "seed": 0,
        "made_from": index.digest,
    }
    assert prepared.store == "store"
    assert sum(len(prepared.split(split)) for split in SPLITS) == 400
    assert all(photo.quantity in CLASSES for photo in prepared.photos)
    assert leak(prepared.photos) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["photos_read"], report["photos_kept"]) == (403, 400)
    assert report["other_counts"] == {"0": 1, "7": 2}
    assert report["leak"] == 0
    assert report["leak_by_photo"] == pytest.approx(0.8)
    assert sum(report["groups"].values()) == 200
    for quantity in CLASSES:
        found = Counter(photo.split for photo in prepared.photos if photo.quantity == quantity)
        assert report["classes"][str(quantity)] == {split: found[split] for split in SPLITS}
    page = (tmp_path / "out/report.html").read_text()
    assert "leak" in page
    assert "400 of 403 photos kept" in page


def test_a_class_with_less_than_half_of_its_share_is_named():
    photos = [photo(f"{number:03d}", 1, split="train") for number in range(76)]
    photos += [photo(f"2{number}", 1, split="val") for number in range(4)]
    photos += [photo(f"3{number}", 1, split="test") for number in range(3)]
    assert thin_cells(count_cells(photos, (1,))) == {
        "1 items, val": "4 of 83 photos",
        "1 items, test": "3 of 83 photos",
    }
    assert thin_cells(count_cells(photos[4:], (1,))) == {"1 items, test": "3 of 79 photos"}


def test_preparing_again_gives_the_same(tmp_path):
    index_of(bins(300)).write(tmp_path / "index.parquet")
    digests = {
        DatasetIndex.read(prepare(tmp_path / "index.parquet", tmp_path / name)).digest
        for name in ("a", "b", "a")
    }
    assert len(digests) == 1
    other = prepare(tmp_path / "index.parquet", tmp_path / "a", seed=1)
    assert DatasetIndex.read(other).digest not in digests
    again = prepare(tmp_path / "a/index.parquet", tmp_path / "c", classes=(2, 1))
    assert DatasetIndex.read(again).metadata["classes"] == [1, 2]


def test_an_empty_class_is_an_error(tmp_path):
    photos = [photo for photo in bins(300) if photo.quantity not in (2, 4)]
    counts = r"1: \d+, 3: \d+, 5: \d+, 7: 1"
    with pytest.raises(
        DataError, match=f"no photo has 2 or 4 items .photos by count: {counts}.; ingest some"
    ):
        split_bins(index_of([*photos, photo("700001", 7)]), CLASSES, 0)
    with pytest.raises(DataError, match="photos by count: none"):
        split_bins(index_of([]), CLASSES, 0)


def test_an_index_of_something_else_is_an_error(tmp_path):
    index_of([*bins(3), photo("shelf", None)]).write(tmp_path / "index.parquet")
    with pytest.raises(DataError, match=r"shelf\.jpg has no quantity"):
        prepare(tmp_path / "index.parquet", tmp_path / "out")


@pytest.mark.parametrize("classes", [(), (1,), (1, 1), (1, 2, 2), (1, -1), (1, 256), (1, 2.5), (1, True)])
def test_impossible_classes_are_refused(classes):
    with pytest.raises(SettingsError, match="class"):
        check_classes(classes)


def test_an_impossible_seed_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="seed is -1"):
        prepare(tmp_path / "index.parquet", tmp_path / "out", seed=-1)


def test_classes_are_in_order():
    assert check_classes([5, 0, 255]) == (0, 5, 255)

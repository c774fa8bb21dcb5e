import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from stocktake.errors import DataError, SettingsError
from stocktake.images import decode_photo
from stocktake.synthetic.bin_layout import (
    BinSpace,
    Item,
    draw_space,
    fill_bin,
    paint_order,
    pick_one,
    stow_one,
    visible_shares,
)
from stocktake.synthetic.bin_metadata import describe_bin
from stocktake.synthetic.bin_products import Product, draw_product
from stocktake.synthetic.bin_runs import plan_runs
from stocktake.synthetic.bin_settings import ABID_COUNTS, DIFFICULTIES, BinDrawSettings
from stocktake.synthetic.bins import DrawnBin, contact_sheet, draw_bin, draw_run, write_dataset

DEFAULT = BinDrawSettings()


def draw(seed: int, quantity: int | None = None, **changes) -> DrawnBin:
    return draw_bin(np.random.default_rng(seed), BinDrawSettings.preset(**changes), quantity)


def fill(seed: int, count: int) -> tuple[BinSpace, tuple[Item, ...]]:
    rng = np.random.default_rng(seed)
    space = draw_space(rng, DEFAULT)
    return space, fill_bin(rng, DEFAULT, space, count)


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_metadata(folder: Path) -> dict[str, dict]:
    return {p.stem: json.loads(p.read_text()) for p in (folder / "metadata").iterdir()}


# --- the folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "bins"
    return write_dataset(folder, 24, seed=5, workers=2, progress=False)


def test_the_folder_is_laid_out_like_abid(dataset):
    photos = {path.stem for path in (dataset / "bin-images").iterdir()}
    metadata = read_metadata(dataset)
    assert photos == set(metadata)
    assert len(photos) == 24
    assert {p.suffix for p in (dataset / "bin-images").iterdir()} == {".jpg"}
    for entry in metadata.values():
        assert set(entry) == {"BIN_FCSKU_DATA", "EXPECTED_QUANTITY"}
        assert entry["EXPECTED_QUANTITY"] == sum(p["quantity"] for p in entry["BIN_FCSKU_DATA"].values())
        for product in entry["BIN_FCSKU_DATA"].values():
            assert {
                "asin",
                "name",
                "normalizedName",
                "quantity",
                "height",
                "length",
                "width",
                "weight",
            } == set(product)
            assert product["height"]["unit"] == "IN"
            assert product["height"]["value"] > 0


def test_ids_are_strings_of_which_some_differ_by_their_padding_only(dataset):
    ids = {path.stem for path in (dataset / "bin-images").iterdir()}
    twins = {i for i in ids if i.startswith("0") and i.lstrip("0") in ids}
    assert twins
    assert any(
        (dataset / "bin-images" / f"{i}.jpg").read_bytes()
        != (dataset / "bin-images" / f"{i.lstrip('0')}.jpg").read_bytes()
        for i in twins
    )


def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(dataset, tmp_path):
    again = write_dataset(tmp_path / "again", 24, seed=5, workers=1, progress=False)
    assert read_tree(again) == read_tree(dataset)
    other = write_dataset(tmp_path / "other", 24, seed=6, workers=1, progress=False)
    assert read_tree(other) != read_tree(dataset)


def test_a_smaller_dataset_begins_a_larger_one(dataset, tmp_path):
    fewer = read_tree(write_dataset(tmp_path / "fewer", 7, seed=5, workers=1, progress=False))
    whole = read_tree(dataset)
    assert len(fewer) == 15  # licence.txt too
    assert all(whole[name] == content for name, content in fewer.items())


def test_photos_decode_at_the_size_of_real_ones(dataset):
    shapes = [decode_photo(p.read_bytes()).shape for p in (dataset / "bin-images").iterdir()]
    assert all(DEFAULT.width[0] <= w <= DEFAULT.width[1] and 200 <= h <= 785 for h, w, _ in shapes)
    assert len({w for _, w, _ in shapes}) > 5


def test_a_folder_with_other_photos_is_refused(tmp_path):
    (tmp_path / "bin-images").mkdir()
    (tmp_path / "bin-images" / "1.jpg").touch()
    with pytest.raises(DataError, match=r"1 other files, such as 1.jpg"):
        write_dataset(tmp_path, 2, progress=False)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file"):
        write_dataset(tmp_path / "file" / "bins", 1, progress=False)


@pytest.mark.parametrize("count", [-1, 0])
def test_a_set_without_photos_is_refused(tmp_path, count):
    with pytest.raises(SettingsError, match=f"count is {count}; draw 1 photo or more"):
        write_dataset(tmp_path / "bins", count)
    assert not (tmp_path / "bins").exists()


# --- runs of photos


def test_counts_follow_the_chances():
    for counts in (DEFAULT.counts, ABID_COUNTS):
        runs = plan_runs(BinDrawSettings(counts=counts), 6000, seed=1)
        found = np.bincount([n for run in runs for n in run.counts], minlength=11) / 6000
        assert np.abs(found - np.array(counts) / sum(counts)).max() < 0.04


def test_neighbouring_ids_differ_by_one_item_as_often_as_in_abid():
    """In ABID 57 % of neighbours with 1 to 5 items do, and 40 % share a product."""
    settings = BinDrawSettings(counts=(0, 1, 1, 1, 1, 1))
    runs = plan_runs(settings, 6000, seed=2)
    counts = [n for run in runs for n in run.counts]
    by_one = np.mean([abs(a - b) == 1 for a, b in pairwise(counts)])
    same_bin = sum(len(run.counts) - 1 for run in runs) / (len(counts) - 1)
    assert by_one == pytest.approx(0.57, abs=0.03)
    assert same_bin == pytest.approx(0.4, abs=0.03)


def test_every_photo_has_an_id_of_its_own_beyond_ten_thousand_too():
    ids = [photo for run in plan_runs(DEFAULT, 60_000, seed=0) for photo in run.ids]
    assert len(set(ids)) == 60_000
    assert all(i == f"{int(i):05d}" or 1000 <= int(i) <= 9999 for i in ids)


def test_without_repetition_every_photo_shows_another_bin():
    assert all(len(run.ids) == 1 for run in plan_runs(BinDrawSettings(again=0.0), 50, seed=0))


def test_photos_before_and_after_a_pick_look_alike():
    runs = [list(draw_run(np.random.default_rng(seed), DEFAULT, (4, 3))) for seed in range(6)]
    for before, after in runs:
        assert len(after.items) == 3
        assert {i.product.asin for i in after.items} <= {i.product.asin for i in before.items}
    same_bin = np.mean([difference(before, after) for before, after in runs])
    others = np.mean([difference(one[0], other[1]) for one, other in pairwise(runs)])
    assert same_bin < 0.7 * others


def difference(one: DrawnBin, other: DrawnBin) -> float:
    """Mean difference of grey levels, both photos brought to one size and one brightness."""
    grey = [
        cv2.cvtColor(cv2.resize(b.photo, (64, 48)), cv2.COLOR_RGB2GRAY).astype(float) for b in (one, other)
    ]
    a, b = ((g - g.mean()) / g.std() for g in grey)
    return float(np.abs(a - b).mean())


# --- what is in a bin


def test_more_than_half_of_the_bins_hold_a_product_twice():
    """55 % of ABID's bins of 1 to 5 items do."""
    repeats = []
    for seed in range(250):
        products = [item.product.asin for item in fill(seed, 1 + seed % 5)[1]]
        repeats.append(len(set(products)) < len(products))
    assert np.mean(repeats) == pytest.approx(0.55, abs=0.08)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 10])
def test_items_are_inside_the_bin_in_sight_and_not_in_each_other(count):
    for seed in range(12):
        space, items = fill(seed, count)
        assert len(items) == count
        for item in items:
            assert item.left >= -0.11 * item.product.width
            assert item.right <= 1 + 0.11 * item.product.width
            assert 0 <= item.base < item.top <= space.opening
        if items:
            assert visible_shares(space, items).min() >= DEFAULT.visible


def test_every_item_stands_on_the_floor_or_on_its_pile():
    for seed in range(30):
        _, items = fill(seed, 6)
        for item in items:
            below = [o for o in items if o.pile == item.pile and o.top == pytest.approx(item.base)]
            assert item.base == 0 or below


def test_a_pick_takes_only_what_nothing_lies_on():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        _, items = fill(seed, 6)
        left = pick_one(rng, items)
        assert len(left) == 5
        assert set(left) < set(items)
        bases = {(item.pile, round(item.top, 6)) for item in left} | {(item.pile, 0.0) for item in left}
        assert all((item.pile, round(item.base, 6)) in bases for item in left)


def test_a_stow_leaves_the_others_where_they_are():
    kept = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        space, items = fill(seed, 2)
        more = stow_one(rng, DEFAULT, space, items)
        assert len(more) == 3
        kept.append(set(items) < set(more))
    assert np.mean(kept) > 0.8


def test_an_item_in_front_hides_what_is_behind_it():
    space = BinSpace(0.7, (0.5, 0.4), 0.3)
    product = replace(draw_product(np.random.default_rng(0), DEFAULT, 0.7), width=0.4, height=0.4, depth=0.3)
    rear, front = Item(product, 0.3, 0.0, 0.6, 0), Item(product, 0.5, 0.0, 0.0, 1)
    assert paint_order([front, rear]) == [1, 0]
    seen = visible_shares(space, [rear, front])
    assert seen[1] == 1
    assert seen[0] == pytest.approx(0.5, abs=0.15)


# --- the photo


def test_the_same_state_gives_the_same_pixels():
    one, two = draw(3), draw(3)
    assert np.array_equal(one.photo, two.photo)
    assert one.quantity == two.quantity


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
@pytest.mark.parametrize("quantity", [0, 1, 5, 10])
def test_each_item_can_be_seen(difficulty, quantity):
    drawn = draw(quantity, quantity, difficulty=difficulty)
    assert drawn.photo.dtype == np.uint8
    assert drawn.photo.ndim == 3
    assert drawn.quantity == quantity == len(drawn.items) == len(drawn.visible)
    if quantity:
        assert drawn.visible.min() > 0.1
        assert drawn.visible.min() >= (0.6 if difficulty == "easy" else 0.15)


def test_at_the_default_difficulty_a_third_of_every_item_is_in_sight():
    shares = np.concatenate([draw(seed, 5).visible for seed in range(20)])
    assert np.mean(shares >= 0.35) >= 0.98


def test_an_item_changes_the_photo_where_it_stands():
    empty, one = (draw(6, quantity, noise=(0.0, 0.0), lighting=0.0) for quantity in (0, 1))
    assert empty.photo.std() < one.photo.std()


def test_each_difficulty_is_darker_or_flatter_than_the_one_before():
    contrast = [
        np.mean([draw(seed, 3, difficulty=difficulty).photo.std() for seed in range(8)])
        for difficulty in ("easy", "default", "hard")
    ]
    assert contrast[0] > contrast[1] > contrast[2]


def test_a_contact_sheet_has_rows_of_one_height():
    sheet = contact_sheet([draw(seed, 2) for seed in range(3)], columns=2, height=120)
    assert sheet.shape[0] == 240
    assert sheet.dtype == np.uint8
    with pytest.raises(SettingsError, match="contact sheet"):
        contact_sheet([])


# --- settings and metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": (1.0,) * 12}, "counts is"),
        ({"counts": (0.0, 0.0)}, "counts is"),
        ({"counts": (1.0, -0.5, 1.0)}, "counts is"),
        ({"width": (100, 300)}, "at least 160 px"),
        ({"item_size": (0.5, 0.2)}, "lower end must come first"),
        ({"visible": 0.95}, "visible is"),
        ({"tapes": 3}, "unknown setting tapes"),
        ({"difficulty": "brutal"}, "easy, default, hard"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        BinDrawSettings.preset(**changes)


def make_product(artwork: int) -> Product:
    return replace(draw_product(np.random.default_rng(1), DEFAULT, 0.7), artwork=artwork)


def test_an_empty_bin_has_no_entries():
    assert describe_bin([]) == {"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0}


def test_items_of_one_product_are_one_entry():
    product = make_product(7)
    metadata = describe_bin([product, product, product.scaled(0.9)])
    assert metadata["EXPECTED_QUANTITY"] == 3
    assert metadata["BIN_FCSKU_DATA"][product.asin]["quantity"] == 3


def test_some_keys_are_no_asin_and_some_weights_are_unknown():
    ((key, entry),) = describe_bin([make_product(30)])["BIN_FCSKU_DATA"].items()
    assert key.startswith("ZZX")
    assert entry["asin"].startswith("B0")
    (entry,) = describe_bin([make_product(26)])["BIN_FCSKU_DATA"].values()
    assert entry["weight"] is None

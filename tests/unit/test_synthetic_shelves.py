import csv
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from stocktake.boxes import box_area, intersection_matrix
from stocktake.errors import DataError, SettingsError
from stocktake.shelf.annotations import VOID_COLUMNS
from stocktake.synthetic.camera import draw_homography, transform_boxes
from stocktake.synthetic.draw_settings import DIFFICULTIES, DrawSettings
from stocktake.synthetic.families import DEMO, FAMILIES, STARTER
from stocktake.synthetic.packs import draw_packs
from stocktake.synthetic.scenery import paint_back
from stocktake.synthetic.shelves import DrawnShelf, contact_sheet, draw_shelf, write_dataset

SMALL = {"width": 480, "height": 640}


def draw(seed: int, difficulty: str = "default", **changes) -> DrawnShelf:
    return draw_shelf(np.random.default_rng(seed), DrawSettings.preset(difficulty, **changes))


@pytest.fixture(scope="module")
def shelves() -> list[DrawnShelf]:
    return [draw(seed, family=family, width=720, height=960) for seed in range(4) for family in FAMILIES]


def boxes_of(shelf: DrawnShelf, low_stock: bool) -> np.ndarray:
    boxes = [v.box for v in shelf.voids if (v.kind == "low_stock") == low_stock]
    return np.array(boxes, np.float32).reshape(-1, 4)


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
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="taken"):
        write_dataset(tmp_path / "taken", {"train": 1}, progress=False)


def test_photos_of_another_set_are_not_mixed_in(dataset):
    with pytest.raises(DataError, match=r"1 other files, such as val_0\.jpg"):
        write_dataset(dataset, {"train": 3, "test": 2}, progress=False)


# --- the truth


def test_boxes_are_whole_numbers_inside_the_photo(shelves):
    for shelf in shelves:
        height, width = shelf.photo.shape[:2]
        assert shelf.boxes.dtype == np.float32
        assert np.array_equal(shelf.boxes, np.rint(shelf.boxes))
        assert (shelf.boxes >= 0).all()
        assert (shelf.boxes[:, 2:] <= [width, height]).all()
        assert (shelf.boxes[:, 2:] - shelf.boxes[:, :2]).min() >= 4


def test_products_are_as_many_and_as_large_as_on_real_photos(shelves):
    counts = [len(shelf.boxes) for shelf in shelves]
    assert min(counts) >= 30
    assert max(counts) <= 260
    shares = [np.median(box_area(s.boxes)) / s.photo[..., 0].size for s in shelves]
    assert 0.0025 < np.median(shares) < 0.0075


def test_voids_and_low_stock_hold_no_product(shelves):
    for shelf in shelves:
        for boxes in (boxes_of(shelf, low_stock=False), boxes_of(shelf, low_stock=True)):
            covered = intersection_matrix(boxes, shelf.boxes).sum(1) / box_area(boxes)
            assert (covered < 0.12).all()


def test_voids_stand_on_the_board_of_their_neighbours(shelves):
    checked = 0
    for shelf in shelves:
        for void in shelf.voids:
            x1, y1, x2, y2 = void.box
            width = (x2 - x1) / void.facings
            middle = (shelf.boxes[:, 1] + shelf.boxes[:, 3]) / 2
            beside = (np.abs(shelf.boxes[:, 2] - x1) < width) & (y1 < middle) & (middle < y2)
            if void.kind == "gap" and beside.any():
                bottom = shelf.boxes[beside, 3].max()
                assert abs(bottom - y2) < 0.15 * (y2 - y1)
                checked += 1
    assert checked >= 5


def test_voids_are_bare_and_low_stock_is_not(shelves):
    bare, stocked = [], []
    for shelf in shelves:
        grey = cv2.GaussianBlur(cv2.cvtColor(shelf.photo, cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(np.float32)
        energy = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))

        def mean(box, energy=energy) -> float:
            x1, y1, x2, y2 = (int(v) for v in box)
            inset_x, inset_y = (x2 - x1) // 8, (y2 - y1) // 8
            return float(energy[y1 + inset_y : y2 - inset_y, x1 + inset_x : x2 - inset_x].mean())

        product = np.median([mean(box) for box in shelf.boxes])
        bare += [mean(box) / product for box in boxes_of(shelf, low_stock=False)]
        stocked += [mean(box) / product for box in boxes_of(shelf, low_stock=True)]
    assert np.mean(np.array(bare) < 0.7) > 0.85
    assert np.median(stocked) > 1.5 * np.median(bare)


def test_tiers_are_counted_from_the_floor(shelves):
    for shelf in shelves:
        gaps = sorted((v.tier, v.box[3]) for v in shelf.voids)
        for (tier, bottom), (other, other_bottom) in pairwise(gaps):
            if other > tier:
                assert other_bottom < bottom


def test_empty_tier_spans_the_photo_and_nothing_stands_on_it():
    shelf = draw(3, empty_tier=1.0, voids=(0, 0))
    (void,) = shelf.voids
    assert void.kind == "empty_tier"
    assert void.facings > 4
    assert void.box[2] - void.box[0] > 0.8 * shelf.photo.shape[1]


def test_runs_at_the_end_are_edges_and_others_are_gaps():
    ends = [
        v
        for seed in range(3)
        for v in draw(seed, edge_voids=1.0, low_stock=0.0, empty_tier=0.0, **SMALL).voids
    ]
    inner = [
        v
        for seed in range(3)
        for v in draw(seed, edge_voids=0.0, low_stock=0.0, empty_tier=0.0, **SMALL).voids
    ]
    assert {v.kind for v in ends} == {"edge"}
    assert sum(v.kind == "gap" for v in inner) >= 0.8 * len(inner) > 0


def test_voids_are_one_to_four_facings_wide_by_the_chance_that_is_set():
    single = [v for seed in range(4) for v in draw(seed, void_facings=(1.0,), empty_tier=0.0, **SMALL).voids]
    four = [
        v for seed in range(4) for v in draw(seed, void_facings=(0, 0, 0, 1.0), empty_tier=0.0, **SMALL).voids
    ]
    assert {v.facings for v in single} == {1}
    assert max(v.facings for v in four) == 4
    assert np.mean([v.facings for v in four]) > 2


# --- the knobs


def test_low_stock_is_annotated_apart_from_voids():
    kinds = {v.kind for seed in range(3) for v in draw(seed, low_stock=1.0, empty_tier=0.0, **SMALL).voids}
    assert kinds == {"low_stock"}


def test_tilt_turns_tiers():
    def different_bottoms(tilt: float) -> float:
        drawn = [draw(seed, tilt=tilt, keystone=0.0, **SMALL).boxes[:, 3] for seed in range(3)]
        return float(np.mean([len(np.unique(bottoms)) / len(bottoms) for bottoms in drawn]))

    assert different_bottoms(tilt=15.0) > 1.5 * different_bottoms(tilt=0.0)


def test_blur_noise_and_light_change_pixels_and_not_the_truth():
    plain = draw(4, blur=(0.0, 0.0), noise=(0.0, 0.0), lighting=0.0, **SMALL)
    blurred = draw(4, blur=(2.0, 2.0), noise=(0.0, 0.0), lighting=0.0, **SMALL)
    noisy = draw(4, blur=(0.0, 0.0), noise=(10.0, 10.0), lighting=0.0, **SMALL)
    lit = draw(4, blur=(0.0, 0.0), noise=(0.0, 0.0), lighting=0.5, **SMALL)
    sharpness = [cv2.Laplacian(s.photo, cv2.CV_32F).var() for s in (blurred, plain, noisy)]
    assert sharpness == sorted(sharpness)
    assert np.abs(lit.photo.astype(int) - plain.photo).mean() > 3
    for other in (blurred, noisy, lit):
        assert np.array_equal(other.boxes, plain.boxes)
        assert other.voids == plain.voids


def test_harder_presets_are_noisier_and_more_compressed():
    quality = {
        name: np.mean([draw(s, name, **SMALL).jpeg_quality for s in range(3)]) for name in DIFFICULTIES
    }
    assert quality["easy"] > quality["default"] > quality["hard"]


def test_landscape_swaps_the_sides():
    assert draw(1, landscape=1.0, **SMALL).photo.shape == (480, 640, 3)
    assert draw(1, landscape=0.0, **SMALL).photo.shape == (640, 480, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "shop"}, "demo, starter"),
        ({"width": 40}, "160"),
        ({"blur": (2.0, 1.0)}, "blur"),
        ({"tilt": -1.0}, "tilt"),
        ({"tiers": (0, 2)}, "at least 1"),
        ({"colour": 1}, "colour"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        DrawSettings.preset(**changes)


def test_unknown_difficulty_names_those_that_exist():
    with pytest.raises(SettingsError, match="easy, default, hard"):
        DrawSettings.preset("brutal")


# --- families and parts


def test_families_share_nothing():
    for part in ("palette", "inks", "rails", "tags", "floors"):
        distances = np.abs(
            np.array(getattr(DEMO, part))[:, None] - np.array(getattr(STARTER, part))[None]
        ).max(2)
        assert distances.min() > 5, part
    colours = [np.array([back.colour for back in family.backs]) for family in (DEMO, STARTER)]
    assert np.abs(colours[0][:, None] - colours[1][None]).max(2).min() > 10
    for part in ("designs", "pictures"):
        assert not set(getattr(DEMO, part)) & set(getattr(STARTER, part))
    assert not {b.material for b in DEMO.backs} & {b.material for b in STARTER.backs}
    for value in ("name", "profile"):
        demo, starter = ({getattr(shape, value) for shape in family.shapes} for family in (DEMO, STARTER))
        assert not demo & starter


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_packs_fill_their_box_and_show_contrast(family):
    for shape in family.shapes:
        rng = np.random.default_rng(0)
        first, second = draw_packs(rng, family, shape, 60, 110, variants=2)
        assert first.shape == (110, 60, 4)
        solid = first[..., 3] > 127
        assert solid.any(0).sum() >= 58
        assert solid.any(1).all()
        assert first[solid][:, :3].std(0).max() > 15
        assert np.array_equal(first[..., 3], second[..., 3])


@pytest.mark.parametrize("back", [b for f in FAMILIES.values() for b in f.backs], ids=str)
def test_backs_have_their_colour(back):
    panel = paint_back(np.random.default_rng(0), back, 90, 130)
    assert panel.shape == (90, 130, 3)
    assert np.abs(np.median(panel, (0, 1)) - back.colour).max() < 20


def test_camera_without_tilt_and_keystone_leaves_everything_in_place():
    camera = draw_homography(np.random.default_rng(0), 100, 200, tilt=0.0, keystone=0.0)
    assert np.allclose(camera, np.eye(3))
    boxes = np.array([[1.0, 2, 30, 40]])
    assert np.allclose(transform_boxes(camera, boxes), boxes)
    assert transform_boxes(camera, np.zeros((0, 4))).shape == (0, 4)


def test_boxes_are_the_bounds_of_what_the_camera_sees():
    quarter_turn = np.array([[0, -1, 10], [1, 0, 0], [0, 0, 1.0]])  # (x, y) -> (10 - y, x)
    assert np.allclose(transform_boxes(quarter_turn, np.array([[1.0, 2, 3, 7]])), [[3, 1, 8, 3]])


def test_contact_sheet_shows_every_photo(shelves):
    sheet = contact_sheet(shelves[:3], columns=2, height=100)
    assert sheet.shape[0] == 200
    assert sheet[100:].any()
    with pytest.raises(SettingsError):
        contact_sheet([])

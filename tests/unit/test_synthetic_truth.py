"""What drawn photos show, against the truth that comes with them."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from stocktake.boxes import box_area, intersection_matrix
from stocktake.errors import SettingsError
from stocktake.synthetic.draw_settings import DIFFICULTIES
from stocktake.synthetic.families import FAMILIES
from stocktake.synthetic.shelves import DrawnShelf, contact_sheet
from tests.drawn_shelves import SMALL, draw


@pytest.fixture(scope="module")
def shelves() -> list[DrawnShelf]:
    return [draw(seed, family=family, width=720, height=960) for seed in range(4) for family in FAMILIES]


def boxes_of(shelf: DrawnShelf, low_stock: bool) -> np.ndarray:
    boxes = [v.box for v in shelf.voids if (v.kind == "low_stock") == low_stock]
    return np.array(boxes, np.float32).reshape(-1, 4)


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


def test_contact_sheet_shows_every_photo(shelves):
    sheet = contact_sheet(shelves[:3], columns=2, height=100)
    assert sheet.shape[0] == 200
    assert sheet[100:].any()
    with pytest.raises(SettingsError):
        contact_sheet([])

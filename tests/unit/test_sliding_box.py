import numpy as np
import pytest

from stocktake.errors import DataError
from stocktake.shelf.sliding_box import find_voids_by_sliding
from stocktake.shelf.void_scoring import VoidSet, match_voids
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf

ROW = np.array([[0, 100, 50, 200], [100, 100, 150, 200]], np.float32)  # one 50 px wide place between them
SIZE = (150, 300)


def found(boxes, photo=None, size=SIZE):
    voids = find_voids_by_sliding(boxes, np.full(len(boxes), 0.9), photo, size)
    return [v.box for v in voids]


def test_gap_is_reported_twice_from_its_left_and_from_its_right():
    assert found(ROW) == [(50, 100, 100, 200)] * 2


def test_void_carries_the_score_of_its_box_and_knows_no_tier():
    left, right = find_voids_by_sliding(ROW, np.array([0.25, 0.75]), None, SIZE)
    assert (left.confidence, right.confidence) == (0.25, 0.75)
    assert (left.tier, left.position, left.facings, left.kind) == (0, 0, 1, "gap")


@pytest.mark.parametrize(("grey", "count"), [(0, 2), (49, 2), (50, 0), (200, 0)])
def test_only_dark_places_are_voids(grey, count):
    photo = np.full((300, 150, 3), 255, np.uint8)
    photo[100:200, 50:100] = grey
    assert len(found(ROW, photo)) == count


def test_wide_gap_gives_its_two_ends():
    boxes = ROW + np.array([[0, 0, 0, 0], [100, 0, 100, 0]], np.float32)
    assert found(boxes, size=(250, 300)) == [(50, 100, 100, 200), (150, 100, 200, 200)]


@pytest.mark.parametrize(("overlap", "count"), [(9, 1), (10, 0)])
def test_gap_narrower_than_nine_tenths_of_the_box_is_missed(overlap, count):
    """A tenth of the union is 9.1 px of a 50 px wide box."""
    boxes = ROW - [[0, 0, 0, 0], [overlap, 0, 0, 0]]
    places = [box for box in found(boxes) if box == (50, 100, 100, 200)]
    assert len(places) == count


def test_box_that_misses_diagonally_hides_the_gap():
    """Both sides of the empty intersection are negative: their product looks like an overlap."""
    diagonal = np.array([[140, 240, 150, 290]], np.float32)
    assert found(ROW) != []
    assert (50, 100, 100, 200) not in found(np.vstack([ROW, diagonal]))


def test_diagonal_box_further_than_the_neighbourhood_hides_nothing():
    boxes = np.vstack([ROW, [[140, 480, 150, 500]]]).astype(np.float32)
    assert (50, 100, 100, 200) in found(boxes, size=(150, 600))


def test_place_must_lie_in_the_photo():
    alone = np.array([[10, 10, 60, 100]], np.float32)
    assert found(alone, size=(109, 100)) == []
    assert found(alone, size=(110, 100)) == [(60, 10, 110, 100)]


def test_extent_of_the_boxes_stands_in_for_an_unknown_size():
    assert found(ROW, size=None) == [(50, 100, 100, 200)] * 2


def test_nothing_and_degenerate_boxes_are_no_reason_to_crash():
    assert found(np.zeros((0, 4))) == []
    broken = np.array([[0, 0, np.nan, 5], [5, 5, 5, 9], [9, 9, 2, 2]], np.float32)
    assert found(np.vstack([ROW, broken])) == found(ROW)
    with pytest.raises(DataError):
        find_voids_by_sliding(np.zeros((2, 3)), np.zeros(2), None)


def test_drawn_shelves_at_default_difficulty_are_too_hard_for_it():
    hits = false = known = 0
    for index in range(6):
        shelf = draw_shelf(np.random.default_rng([1, index]), DrawSettings())
        scores = np.ones(len(shelf.boxes))
        truth = VoidSet.of(shelf.voids)
        match = match_voids(VoidSet.of(find_voids_by_sliding(shelf.boxes, scores, shelf.photo)), truth)
        hits, false = hits + int((match >= 0).sum()), false + int((match == -1).sum())
        known += int((~truth.ignored).sum())
    assert known >= 6
    assert 2 * hits / (hits + false + known) <= 0.35

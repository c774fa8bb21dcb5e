import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stocktake.shelf.level import Level, Runs, estimate_level, follow, link, median
from stocktake.shelf.tiers import find_tiers, number_tiers
from tests.plain_shelf import plain_shelf, sheared


def box(x: float, floor: float, width: float = 50, height: float = 100) -> list[float]:
    return [x, floor - height, x + width, floor]


def array(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


# levelling


@pytest.mark.parametrize("slope", [-0.27, -0.1, 0.0, 0.05, 0.27])  # 0.27 is 15 degrees
def test_the_slope_of_the_boards_is_found(slope):
    level = estimate_level(sheared(plain_shelf(), slope))
    assert level.tilt == pytest.approx(slope, abs=0.005)
    assert level.fan * 400 == pytest.approx(0, abs=0.01)


def test_boards_that_fan_out_become_level():
    boxes = plain_shelf(tiers=5)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2 - 350, boxes[:, 3] - 600
    lower = (y * (1 + 0.0005 * x) + 600 - boxes[:, 3])[:, None] * np.array([0, 1, 0, 1])
    fanned = (boxes + lower).astype(np.float32)
    level = estimate_level(fanned)
    assert level.fan == pytest.approx(0.0005, rel=0.1)
    rows = level.row((fanned[:, 0] + fanned[:, 2]) / 2, fanned[:, 3]).reshape(5, 10)
    assert np.ptp(rows, axis=1).max() < 8
    assert find_tiers(fanned).of_box.tolist() == np.repeat([1, 2, 3, 4, 5], 10).tolist()


def test_links_to_other_boards_do_not_bend_the_level():
    boxes = sheared(plain_shelf(), 0.1)
    strays = boxes[::7] + np.array([12, 35, 12, 35], np.float32)
    assert estimate_level(np.concatenate([boxes, strays])).tilt == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_boxes_are_taken_as_level(count):
    level = estimate_level(plain_shelf(tiers=1, facings=3)[:count] + np.arange(count)[:, None] * 20)
    assert (level.tilt, level.fan) == (0, 0)


def test_level_of_an_example():
    level = Level(0.1, 0.001, (100, 200))
    x, y = np.array([100.0, 200.0]), np.array([250.0, 260.0])
    assert level.row(x, y) == pytest.approx([50, 50 / 1.1])
    assert level.y(x, level.row(x, y)) == pytest.approx(y)
    assert level.column(x, y) == pytest.approx([105, 206])


@given(arrays(float, st.integers(1, 9), elements=st.floats(-100, 100)))
def test_median_is_the_median(values):
    assert median(values) == pytest.approx(np.median(values))


def test_follow_goes_to_the_end():
    assert follow(np.array([0, 0, 1, 3, 2, 3])).tolist() == [0, 0, 0, 3, 0, 3]


def test_runs_of_chains():
    boxes = array(box(200, 90, 30, 40), box(0, 100), box(60, 104, 40), box(300, 80, 10, 20))
    runs = Runs.of_chains(boxes, boxes[:, 3], np.array([0, 0, 0, 1]))
    assert runs.x1.tolist() == [0, 300]
    assert runs.x2.tolist() == [230, 310]
    assert runs.row1.tolist() == [102, 80]
    assert runs.row2.tolist() == [97, 80]
    assert runs.width.tolist() == [40, 10]
    assert runs.height.tolist() == [80, 20]


def links(boxes: np.ndarray, reach: float = 1.0, **kwargs: float) -> list[tuple[int, int]]:
    left, right = link(Runs.of_boxes(boxes, boxes[:, 3]), reach, **kwargs)
    return list(zip(left.tolist(), right.tolist(), strict=True))


def test_links_join_neighbours_on_a_board():
    boxes = array(box(0, 100), box(60, 100), box(130, 100), box(60, 300))
    assert links(boxes) == [(0, 1), (1, 2)]
    assert links(boxes, reach=0.3) == [(0, 1)]  # the gap of 20 px is 0.4 widths
    assert links(boxes, reach=0.41) == [(0, 1), (1, 2)]


def test_links_need_one_height():
    boxes = array(box(0, 100, height=80), box(50, 119, height=200))
    assert links(boxes) == [(0, 1)]  # 19 px are less than a quarter of 80
    assert links(boxes + array([0, 0, 0, 0], [0, 0, 0, 2])) == []
    assert links(boxes + array([0, 0, 0, 0], [0, 0, 0, 2]), step=0.3) == [(0, 1)]


def test_a_box_within_another_is_no_neighbour():
    assert links(array(box(0, 100, 100), box(20, 100, 50))) == []
    assert links(array(box(0, 100), box(15, 100))) == []  # overlap of 0.7 widths
    assert links(array(box(0, 100), box(35, 100))) == [(0, 1)]


def test_the_nearer_of_two_neighbours_is_linked():
    assert links(array(box(0, 100), box(80, 100), box(55, 103, 20))) == [(0, 2), (2, 1)]


def test_the_more_level_of_two_neighbours_is_linked():
    assert links(array(box(0, 100), box(60, 112), box(60, 101))) == [(0, 2)]
    assert links(array(box(60, 112), box(0, 100), box(60, 101))) == [(1, 2)]


def test_no_vanishing_point_comes_into_the_photo():
    boxes = plain_shelf(tiers=5)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2 - 350, boxes[:, 3] - 600
    steep = (y * 0.0035 * x)[:, None] * np.array([0, 1, 0, 1])
    level = estimate_level((boxes + steep).astype(np.float32))
    assert 0 <= level.fan * 226 <= 0.7


# tiers


def test_a_row_that_hangs_a_little_below_is_a_front_row():
    boxes = plain_shelf(tiers=2, facings=12)
    low = array(*(box(130 + 60 * k, 1018, 40, 60) for k in range(4)))
    tiers = find_tiers(np.concatenate([boxes, low]))
    assert tiers.count == 2
    assert tiers.of_box[-4:].tolist() == [1] * 4
    lower = array(*(box(130 + 60 * k, 1040, 40, 60) for k in range(4)))
    assert find_tiers(np.concatenate([boxes, lower])).count == 3


def test_a_plain_shelf():
    tiers = find_tiers(plain_shelf(tiers=3, facings=4))
    assert tiers.count == 3
    assert tiers.of_box.tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert tiers.front.all()
    assert tiers.foot.tolist() == list(range(12))
    assert sorted(zip(tiers.x1.tolist(), tiers.x2.tolist(), strict=True)) == [(100, 300)] * 3


@pytest.mark.parametrize("slope", [-0.27, 0.27])
def test_a_tilted_shelf_with_gaps(slope):
    boxes = sheared(plain_shelf(missing=((1, 4), (1, 5), (2, 6), (3, 2))), slope)
    tiers = find_tiers(boxes)
    assert tiers.of_box.tolist() == [1] * 8 + [2] * 9 + [3] * 9 + [4] * 10
    assert tiers.front.all()


def test_nothing_and_too_little_is_on_no_tier():
    assert find_tiers(np.zeros((0, 4), np.float32)).count == 0
    two = find_tiers(plain_shelf(tiers=1, facings=2))
    assert (two.count, two.of_box.tolist(), two.front.any()) == (0, [0, 0], False)


@pytest.mark.parametrize("gap", [0, 10, 20])  # up to a quarter of the height for two of a kind
def test_products_of_one_kind_are_stacked(gap):
    below = plain_shelf(tiers=1, facings=5)
    above = below[1:4] - np.array([0, 100 + gap, 0, 100 + gap], np.float32)
    tiers = find_tiers(np.concatenate([below, above]))
    assert tiers.count == 1
    assert tiers.foot.tolist() == [0, 1, 2, 3, 4, 1, 2, 3]
    assert tiers.front.tolist() == [True] * 5 + [False] * 3
    assert tiers.of_box.tolist() == [1] * 8


def test_a_stack_of_three_has_one_foot():
    below = plain_shelf(tiers=1, facings=3)
    stack = [below[1] - np.array([0, 102 * k, 0, 102 * k], np.float32) for k in (1, 2)]
    assert find_tiers(np.concatenate([below, stack])).foot.tolist() == [0, 1, 2, 1, 1]


def test_other_products_are_stacked_only_when_they_touch():
    below = plain_shelf(tiers=1, facings=4)
    for gap, foot in ((4, 1), (20, 4)):
        other = array(box(145, 900 - gap, 60, 60))
        assert find_tiers(np.concatenate([below, other])).foot[4] == foot


def test_a_low_shelf_is_no_stack():
    """Bottles of 100 px under a rail of 30 px: the upper products are of another size and not stacked."""
    lower = plain_shelf(tiers=1, facings=8)
    upper = array(*(box(105 + 70 * k, 870, 65, 80) for k in range(6)))
    tiers = find_tiers(np.concatenate([lower, upper]))
    assert tiers.count == 2
    assert tiers.of_box.tolist() == [1] * 8 + [2] * 6


def test_a_row_that_floats_a_little_is_a_back_row():
    boxes = plain_shelf(tiers=2, facings=8)
    back = array(*(box(130 + 60 * k, 970, 40, 90) for k in range(4)))
    tiers = find_tiers(np.concatenate([boxes, back]))
    assert tiers.count == 2
    assert tiers.of_box[-4:].tolist() == [1] * 4
    assert not tiers.front[-4:].any()


@pytest.mark.parametrize(
    ("floor", "tier", "front"),
    [(1000, 1, True), (1010, 1, True), (990, 1, True), (960, 1, False), (930, 0, False)],
)
def test_a_loose_box_belongs_to_the_board_that_it_stands_on_or_behind(floor, tier, front):
    boxes = np.concatenate([plain_shelf(tiers=1, facings=6), array(box(520, floor))])
    tiers = find_tiers(boxes)
    assert (tiers.of_box[-1], tiers.front[-1]) == (tier, front)


@pytest.mark.parametrize(("floor", "tier"), [(1040, 1), (1060, 0)])
def test_a_loose_box_may_stand_before_the_board(floor, tier):
    boxes = np.concatenate([plain_shelf(tiers=1, facings=6), array(box(420, floor))])
    assert find_tiers(boxes).of_box[-1] == tier


def test_small_boxes_on_a_large_one_are_stacked():
    below = np.concatenate([plain_shelf(tiers=1, facings=4), array(box(300, 1000, 120, 100))])
    small = array(box(310, 898, 40, 30), box(360, 898, 40, 30))
    assert find_tiers(np.concatenate([below, small])).foot.tolist() == [0, 1, 2, 3, 4, 4, 4]


def test_a_box_beside_the_middle_of_another_is_not_stacked():
    below = plain_shelf(tiers=1, facings=4)
    half = array(box(275, 898, 50, 100))  # shares half of its width with nothing below
    assert find_tiers(np.concatenate([below, half])).foot[-1] == 4


def test_a_loose_box_far_away_belongs_to_no_board():
    boxes = np.concatenate([plain_shelf(tiers=1, facings=6), array(box(1000, 970))])
    assert find_tiers(boxes).of_box[-1] == 0


def test_bays_with_boards_at_other_heights():
    left = plain_shelf(tiers=2, facings=6)
    right = plain_shelf(tiers=3, facings=6, pitch=130, height=80) + np.array(
        [500, -100, 500, -100], np.float32
    )
    tiers = find_tiers(np.concatenate([left, right]))
    assert tiers.of_box.tolist() == [1] * 6 + [2] * 6 + [1] * 6 + [2] * 6 + [3] * 6
    assert len(tiers.number) == 5


def test_numbers_count_from_below_within_a_bay():
    row, x1, x2 = np.array([0, 100, 90, 200.0]), np.array([0, 0, 60, 0.0]), np.array([50, 50, 99, 50.0])
    assert number_tiers(row, x1, x2).tolist() == [3, 2, 1, 1]
    wide = np.array([50, 50, 99, 99.0])
    assert number_tiers(row, x1, wide).tolist() == [3, 2, 2, 1]
    assert number_tiers(row[:0], x1[:0], x2[:0]).tolist() == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 3.0]), st.integers(-3000, 3000))
def test_tiers_do_not_depend_on_order_scale_and_place(seed, scale, shift):
    rng = np.random.default_rng(seed)
    boxes = plain_shelf(tiers=3, facings=9, space=4)[rng.random(27) < 0.85]
    boxes = boxes + rng.uniform(-3, 3, boxes.shape).astype(np.float32)
    order = rng.permutation(len(boxes))
    plain, other = find_tiers(boxes), find_tiers(((boxes + shift) * scale)[order].astype(np.float32))
    assert other.of_box.tolist() == plain.of_box[order].tolist()
    assert other.front.tolist() == plain.front[order].tolist()
    assert plain.of_box.tolist() == (1 + np.rint((1000 - boxes[:, 3]) / 200)).tolist()


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, (30, 4), elements=st.floats(0, 500, width=32)))
def test_any_boxes_are_put_up_with(corners):
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + 1 + corners[:, 2:]], axis=1)
    tiers = find_tiers(boxes)
    assert set(tiers.of_box[tiers.front]) == set(range(1, tiers.count + 1))
    assert (tiers.foot[tiers.foot] == tiers.foot).all()
    assert (tiers.of_box == tiers.of_box[tiers.foot]).all()
    assert not tiers.front[tiers.foot != np.arange(30)].any()

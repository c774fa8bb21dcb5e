import numpy as np
import pytest

from stocktake.shelf.empty_tiers import find_empty_tiers
from stocktake.shelf.gaps import Gaps, find_gaps
from stocktake.shelf.tiers import find_tiers
from tests.plain_shelf import plain_shelf, sheared


def gaps_of(boxes: np.ndarray, min_room: float = 0.5, edges: bool = False) -> Gaps:
    return find_gaps(boxes, find_tiers(boxes), min_room, edges)


def with_box(boxes: np.ndarray, x: float, floor: float, width: float, height: float) -> np.ndarray:
    return np.concatenate([boxes, np.array([[x, floor - height, x + width, floor]], np.float32)])


def test_a_full_shelf_has_no_gaps():
    assert len(gaps_of(plain_shelf(), edges=True)) == 0
    assert len(gaps_of(plain_shelf()[:0], edges=True)) == 0
    assert len(gaps_of(plain_shelf(space=30), edges=True)) == 0  # wide spaces are usual here


@pytest.mark.parametrize("space", [0, 10])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_missing_products_leave_their_room(count, space):
    boxes = plain_shelf(facings=12, space=space, missing=tuple((2, 4 + k) for k in range(count)))
    gaps = gaps_of(boxes)
    step = 50 + space
    assert gaps.box.tolist() == [[100 + 3 * step - space, 700, 100 + (3 + count) * step, 800]]
    assert gaps.room.tolist() == pytest.approx([count])
    assert gaps.kind.tolist() == ["gap"]
    assert boxes[gaps.left].tolist() == [[100 + 2 * step, 700, 150 + 2 * step, 800]]
    assert boxes[gaps.right].tolist() == [[100 + (3 + count) * step, 700, 150 + (3 + count) * step, 800]]
    assert gaps.size.tolist() == [12 - count]
    assert gaps.agree.tolist() == [1]
    assert gaps.headroom.tolist() == [1]
    assert gaps.ragged.tolist() == pytest.approx([0], abs=1e-5)
    assert gaps.blank.tolist() == [0]


def test_spaces_over_six_tenths_of_a_width_are_not_usual():
    assert len(gaps_of(plain_shelf(tiers=1, space=29))) == 0
    wide = gaps_of(plain_shelf(tiers=1, space=32))
    assert wide.room.tolist() == pytest.approx([0.64] * 9)


def test_one_wide_neighbour_does_not_decide_what_is_usual():
    """Flanks of 50 and 350 px: their mean counts as twice the median at most."""
    boxes = plain_shelf(tiers=1, facings=4)
    wide = np.array([[450, 900, 800, 1000]], np.float32)
    gaps = gaps_of(np.concatenate([boxes, wide]))
    assert gaps.room.tolist() == pytest.approx([150 / 75])


def test_narrow_gaps_are_left_out():
    boxes = plain_shelf(tiers=1, facings=8)
    boxes[4:, [0, 2]] += 30
    assert gaps_of(boxes, 0.61).room.tolist() == []
    assert gaps_of(boxes, 0.59).room.tolist() == pytest.approx([0.6])


def test_room_goes_by_the_products_beside_the_gap():
    """Six of 50 px and two wide ones at the gap: median 50, flanks 75, so a facing is 62.5 px."""
    boxes = plain_shelf(tiers=1, facings=4)
    wide = np.array([[300 + 125, 900, 300 + 225, 1000]], np.float32)
    more = plain_shelf(tiers=1, facings=3) + np.array([425, 0, 425, 0], np.float32)
    gaps = gaps_of(np.concatenate([boxes, wide, more]))
    assert gaps.box[:, [0, 2]].tolist() == [[300, 425]]
    assert gaps.room.tolist() == pytest.approx([125 / 62.5])


def test_a_gap_is_as_high_as_its_higher_flank_and_its_stack():
    boxes = plain_shelf(tiers=1, facings=8, missing=((1, 4),))
    boxes[3, 1] -= 30
    assert gaps_of(boxes).box[:, 1].tolist() == [870]
    stacked = with_box(boxes, 200, 898, 50, 100)
    assert gaps_of(stacked).box[:, 1].tolist() == [798]


def test_a_gap_ends_below_the_board_above():
    boxes = plain_shelf(tiers=2, facings=8, pitch=130, missing=((1, 4),))
    boxes[3, 1] -= 60
    gaps = gaps_of(boxes)
    assert gaps.box[:, 1].tolist() == [870]
    assert gaps.headroom.tolist() == pytest.approx([130 / 160])


def test_a_gap_follows_the_tilt():
    boxes = sheared(plain_shelf(missing=((1, 5),)), 0.2)
    gaps = gaps_of(boxes)
    assert gaps.box == pytest.approx(np.array([[300, 900 + 65, 350, 1000 + 65]]), abs=1)


def test_a_box_in_the_gap_narrows_it():
    boxes = plain_shelf(tiers=1, facings=10, missing=((1, 4), (1, 5), (1, 6)))
    low = with_box(boxes, 260, 990, 40, 20)  # a fifth of the height does not count
    assert gaps_of(low).box[:, [0, 2]].tolist() == [[250, 400]]
    high = with_box(boxes, 260, 955, 40, 60)
    gaps = gaps_of(high)
    assert gaps.box[:, [0, 2]].tolist() == [[300, 400]]
    assert gaps.room.tolist() == pytest.approx([2])
    assert gaps.kind.tolist() == ["gap"]


def test_a_back_row_in_the_gap_is_low_stock():
    boxes = plain_shelf(tiers=1, facings=10, missing=((1, 4), (1, 5)))
    back = with_box(with_box(boxes, 252, 960, 46, 80), 301, 960, 46, 80)
    gaps = gaps_of(back)
    assert gaps.kind.tolist() == ["low_stock"]
    assert gaps.box[:, [0, 2]].tolist() == [[250, 350]]
    assert gaps.room.tolist() == pytest.approx([2])
    half = with_box(boxes, 252, 960, 46, 80)
    assert gaps_of(half).kind.tolist() == ["gap"]
    assert gaps_of(half).box[:, [0, 2]].tolist() == [[298, 350]]


def test_an_upright_shows_as_blank_on_all_boards():
    boxes = plain_shelf(tiers=3)
    boxes[(boxes[:, 0] >= 350)] += np.array([45, 0, 45, 0], np.float32)
    gaps = gaps_of(boxes)
    assert len(gaps) == 3
    assert gaps.blank == pytest.approx([2 / 3] * 3)  # two of the two others, and one for doubt
    assert gaps_of(plain_shelf(tiers=5, missing=((2, 6),))).blank.tolist() == [0]
    assert gaps_of(plain_shelf(tiers=5, missing=((2, 6), (4, 6)))).blank.tolist() == [0.2] * 2


@pytest.mark.parametrize("side", [-1, 1])
def test_an_edge_is_where_other_boards_go_on(side):
    missing = ((2, 1), (2, 2)) if side < 0 else ((2, 9), (2, 10))
    boxes = plain_shelf(missing=missing)
    gaps = gaps_of(boxes, edges=True)
    assert gaps.kind.tolist() == ["edge"]
    assert gaps.box.tolist() == [[100, 700, 200, 800] if side < 0 else [500, 700, 600, 800]]
    assert gaps.room.tolist() == pytest.approx([2])
    assert gaps.agree.tolist() == [1]
    assert (gaps.left == gaps.right).all()
    assert len(gaps_of(boxes, edges=False)) == 0


def test_one_board_that_juts_out_makes_no_edges():
    boxes = plain_shelf(missing=tuple((tier, 10) for tier in (1, 2, 4)))
    assert len(gaps_of(boxes, edges=True)) == 0
    boxes = plain_shelf(missing=tuple((tier, 10) for tier in (1, 4)))
    gaps = gaps_of(boxes, edges=True)
    assert gaps.kind.tolist() == ["edge"] * 2
    assert gaps.agree.tolist() == pytest.approx([2 / 3] * 2)


def test_edges_lean_with_the_tilt():
    boxes = sheared(plain_shelf(tiers=5), 0.2)
    boxes[:, [0, 2]] -= 0.2 * (boxes[:, [3]] - 600)  # turned, not only sheared
    assert len(gaps_of(boxes, edges=True)) == 0


def test_an_upright_leans_with_the_tilt():
    boxes = plain_shelf(tiers=3)
    boxes[(boxes[:, 0] >= 350)] += np.array([45, 0, 45, 0], np.float32)
    boxes = sheared(boxes, 0.2)
    boxes[:, [0, 2]] -= 0.2 * (boxes[:, [3]] - 600)
    assert gaps_of(boxes).blank == pytest.approx([2 / 3] * 3)


def test_boards_of_another_bay_make_no_edges():
    short = plain_shelf(tiers=3, facings=5)
    long = plain_shelf(tiers=3, facings=8) + np.array([700, 100, 700, 100], np.float32)
    assert len(gaps_of(np.concatenate([short, long]), edges=True)) == 0


def test_steps_make_a_board_ragged():
    boxes = plain_shelf(tiers=1, facings=10, missing=((1, 5),))
    boxes[::2, [1, 3]] += 6
    assert gaps_of(boxes).ragged.tolist() == pytest.approx([0.06 + 0.06], abs=0.01)


def test_two_readings_of_one_gap_are_one():
    boxes = plain_shelf(tiers=1, facings=10, missing=((1, 5), (1, 6)))
    gaps = gaps_of(boxes)
    assert len(gaps.join(gaps)) == 2
    assert gaps.join(Gaps.none()).box.tolist() == gaps.box.tolist()
    assert len(gaps) == 1


# empty tiers


def empty_of(boxes: np.ndarray) -> Gaps:
    return find_empty_tiers(boxes, find_tiers(boxes))


def without(tiers: int, *empty: int) -> np.ndarray:
    return plain_shelf(tiers=tiers, missing=tuple((tier, k) for tier in empty for k in range(1, 11)))


def test_an_empty_tier_is_seen_from_the_boards_around_it():
    gaps = empty_of(without(6, 3))
    assert gaps.kind.tolist() == ["empty_tier"]
    assert gaps.box == pytest.approx(np.array([[100, 440, 600, 600]]), abs=0.5)
    assert gaps.room.tolist() == [10]
    boxes = without(6, 3)
    assert boxes[gaps.left].tolist() == [[100, 700, 150, 800]]
    assert boxes[gaps.right].tolist() == [[550, 700, 600, 800]]
    assert gaps.size.tolist() == [10]


def test_two_empty_tiers_in_a_row():
    gaps = empty_of(without(7, 3, 4))
    assert sorted(gaps.box[:, 3].tolist()) == pytest.approx([400, 600], abs=0.5)


def test_no_empty_tier_without_a_usual_distance():
    assert len(empty_of(plain_shelf(tiers=6))) == 0
    assert len(empty_of(without(4, 3))) == 0  # two pairs of boards are too few
    assert len(empty_of(np.zeros((0, 4), np.float32))) == 0


def test_high_products_are_no_empty_tier():
    boxes = without(6, 3)
    boxes[10:20, 1] -= 150
    assert len(empty_of(boxes)) == 0


def test_boxes_that_no_board_holds_are_no_empty_tier():
    boxes = without(6, 3)
    wild = np.array([[x, 460 + 15 * (k % 2), x + 100, 590 - 25 * (k % 2)] for k, x in enumerate((120, 330))])
    assert len(empty_of(np.concatenate([boxes, wild]).astype(np.float32))) == 0


@pytest.mark.parametrize("distance", [310, 345])
def test_a_board_must_be_clearly_too_far_away(distance):
    boxes = without(6, 3)
    boxes[:20, [1, 3]] += distance - 400
    assert len(empty_of(boxes)) == (distance >= 1.7 * 200)

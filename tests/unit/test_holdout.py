import numpy as np
import pytest

from stocktake.boxes import FloatArray, intersection_matrix
from stocktake.shelf.holdout import drop_boxes, false_alarms, hold_out, paired, remove_runs, tilt_boxes
from stocktake.shelf.void_scoring import VoidSet, score_voids
from stocktake.shelf.voids import find_voids
from tests.plain_shelf import plain_shelf


def find(boxes: FloatArray) -> VoidSet:
    return VoidSet.of(find_voids(boxes, np.ones(len(boxes)), None))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_taken_out_is_the_truth(seed):
    boxes = plain_shelf(tiers=5, space=5)
    held = remove_runs(boxes, np.random.default_rng(seed))
    assert len(held.truth) == 4
    assert held.truth.facings.sum() == (~held.kept).sum()
    assert set(held.truth.facings.tolist()) <= {1, 2, 3}
    inside = intersection_matrix(held.truth.boxes, boxes[~held.kept]).sum(axis=1)
    assert inside.tolist() == (held.truth.facings * 5000).tolist()
    assert intersection_matrix(held.truth.boxes, boxes[held.kept]).sum() == 0
    width = held.truth.boxes[:, 2] - held.truth.boxes[:, 0]
    assert width.tolist() == (held.truth.facings * 55 - 5).tolist()
    assert not held.truth.ignored.any()


def test_runs_do_not_touch_and_keep_a_product_at_both_ends():
    boxes = plain_shelf(tiers=1, facings=12)
    for seed in range(30):
        held = remove_runs(boxes, np.random.default_rng(seed), runs=9)
        assert held.kept[[0, -1]].all()
        holes = np.flatnonzero(np.diff(held.kept.astype(int)) == -1)
        assert len(holes) == len(held.truth)


def test_with_ends_the_last_of_a_board_may_go():
    boxes = plain_shelf(tiers=1, facings=4)
    gone = np.mean(
        [~remove_runs(boxes, np.random.default_rng(s), ends=True).kept[[0, -1]] for s in range(40)]
    )
    assert gone > 0.2


def test_how_many_and_how_long_can_be_chosen():
    boxes = plain_shelf(tiers=6, facings=14)
    lengths = [
        remove_runs(boxes, np.random.default_rng(s), runs=2, longest=5).truth.facings for s in range(60)
    ]
    assert {len(n) for n in lengths} == {2}
    assert set(np.concatenate(lengths).tolist()) == {1, 2, 3, 4, 5}
    assert len(remove_runs(boxes, np.random.default_rng(0), runs=0).truth) == 0


def test_the_same_seed_takes_the_same():
    boxes = plain_shelf()
    one, two = (remove_runs(boxes, np.random.default_rng(3)) for _ in range(2))
    assert one.kept.tolist() == two.kept.tolist()
    assert one.kept.tolist() != remove_runs(boxes, np.random.default_rng(4)).kept.tolist()


@pytest.mark.parametrize(("stacked", "top"), [(True, 790), (False, 900)])
def test_a_stack_goes_with_its_foot(stacked, top):
    boxes = plain_shelf(tiers=1, facings=3)
    stack = np.array([[150, 790, 200, 890]], np.float32)
    held = remove_runs(np.concatenate([boxes, stack]), np.random.default_rng(0), stacked=stacked)
    assert held.kept.tolist() == [True, False, True, False]
    assert held.truth.boxes.tolist() == [[150, top, 200, 1000]]
    assert held.truth.facings.tolist() == [1]


def test_what_may_be_stacked_is_not_taken_by_itself():
    boxes = plain_shelf(tiers=1, facings=6)
    doubtful = boxes - np.array([0, 130, 0, 130], np.float32)  # 30 px above the tops
    for seed in range(10):
        held = remove_runs(np.concatenate([boxes, doubtful]), np.random.default_rng(seed))
        assert held.kept[6:].all()
        assert not held.kept[:6].all()


@pytest.mark.parametrize(
    ("right", "down", "neighbours"),
    [(0, 30, True), (0, 40, False), (49, 0, True), (51, 0, False), (-11, 0, True), (-16, 0, False)],
)
def test_neighbours_stand_on_one_board_side_by_side(right, down, neighbours):
    """The middle one of three goes only if it has a neighbour on both sides; the third is moved away."""
    boxes = plain_shelf(tiers=1, facings=3)
    boxes[2] += np.array([right, down, right, down])
    held = remove_runs(boxes, np.random.default_rng(0), longest=1)
    assert held.kept.tolist() == [True, not neighbours, True]


def test_hidden_runs_stay():
    boxes = plain_shelf(tiers=1, facings=3)
    hiding = np.array([[160, 905, 190, 960]], np.float32)
    assert remove_runs(np.concatenate([boxes, hiding]), np.random.default_rng(0)).kept.all()


@pytest.mark.parametrize("boxes", [np.zeros((0, 4), np.float32), plain_shelf(tiers=1, facings=1)])
def test_too_few_products_lose_none(boxes):
    held = remove_runs(boxes, np.random.default_rng(0))
    assert held.kept.all()
    assert len(held.truth) == 0


def test_pairing_leaves_out_what_was_there_before():
    before = VoidSet.of_boxes([[0, 0, 10, 10]])
    found = VoidSet.of_boxes([[0, 0, 10, 10], [0, 0, 6, 10], [0, 0, 5, 10], [50, 0, 60, 10]])
    assert paired(found, before).boxes.tolist() == [[0, 0, 5, 10], [50, 0, 60, 10]]
    assert len(paired(found, VoidSet.of_boxes([]))) == 4
    assert len(paired(VoidSet.of_boxes([]), before)) == 0


def test_held_out_products_are_found_and_old_gaps_do_not_count():
    boxes = plain_shelf(tiers=6, missing=((2, 4), (5, 7), (5, 8)))
    assert len(find(boxes)) == 2
    pairs = [hold_out(boxes, find, np.random.default_rng(seed)) for seed in range(8)]
    score = score_voids([found for found, _ in pairs], [truth for _, truth in pairs])
    assert score.recall > 0.8
    assert score.precision > 0.8


def test_hold_out_passes_its_wishes_on():
    boxes = plain_shelf(tiers=6, facings=14)
    truth = [hold_out(boxes, find, np.random.default_rng(s), longest=1, ends=True)[1] for s in range(12)]
    assert {int(n) for t in truth for n in t.facings} == {1}
    assert min(t.boxes[:, 0].min() for t in truth) == 100


@pytest.mark.parametrize(
    ("count", "share", "lost"), [(100, 0.1, 10), (7, 0.5, 4), (5, 0.0, 0), (3, 1.0, 3), (0, 0.5, 0)]
)
def test_a_share_of_the_boxes_is_dropped(count, share, lost):
    kept = drop_boxes(count, share, np.random.default_rng(1))
    assert kept.shape == (count,)
    assert (~kept).sum() == lost


def test_alarms_over_dropped_boxes_are_false():
    boxes = plain_shelf(tiers=6, missing=((2, 4),))
    alarms = false_alarms(boxes, find, 0.1, np.random.default_rng(0))
    assert 3 <= len(alarms) <= 6  # geometry alone cannot tell a missed product from a missing one
    assert len(false_alarms(boxes, find, 0.0, np.random.default_rng(0))) == 0


def test_tilted_boxes_turn_about_the_middle_and_keep_their_size():
    boxes = np.array([[90, 40, 110, 60], [140, 40, 160, 60], [90, 0, 110, 20]], np.float32)
    turned = tilt_boxes(boxes, 200, 100, 90)
    assert turned == pytest.approx(
        np.array([[90, 40, 110, 60], [90, 90, 110, 110], [130, 40, 150, 60]]), abs=1e-4
    )
    assert turned.dtype == np.float32
    assert tilt_boxes(turned, 200, 100, -90) == pytest.approx(boxes, abs=1e-4)
    right_end = tilt_boxes(boxes, 200, 100, 10)[1]
    assert right_end[1] > 40  # clockwise: the right side sinks

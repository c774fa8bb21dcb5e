import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stocktake.boxes import (
    as_boxes,
    as_scores,
    box_area,
    clip_boxes,
    intersection_matrix,
    intersection_over_min,
    iou_matrix,
    nms,
    suppress_overlaps,
    union_box,
    usable,
)
from stocktake.errors import DataError

A = np.array([[0, 0, 4, 2], [2, 1, 6, 5], [10, 10, 11, 12]], np.float32)


def corners(count: int = 5) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, (count, 4), elements=st.integers(0, 40).map(float))


def boxes(count: int = 5) -> st.SearchStrategy[np.ndarray]:
    return corners(count).map(lambda c: np.concatenate([c[:, :2], c[:, :2] + 1 + c[:, 2:]], axis=1))


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), np.zeros((0,)), np.zeros((3, 0))])
def test_nothing_is_the_empty_set(empty):
    assert as_boxes(empty).shape == (0, 4)
    assert as_boxes(empty).dtype == np.float32


def test_boxes_become_float32_and_are_not_copied_without_need():
    assert as_boxes([[1, 2, 3, 4]]).dtype == np.float32
    assert as_boxes(A) is A


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([1, 2, 3, 4], r"things: found shape \(4,\); give \(n, 4\)"),
        (np.zeros((2, 5)), r"things: found shape \(2, 5\)"),
        (np.zeros((1, 2, 4)), r"things: found shape \(1, 2, 4\)"),
        ([["a", "b", "c", "d"]], "things: found values of type <U1"),
        (np.ones((1, 4), bool), "things: found values of type bool"),
        ([[1, 2, 3, 4], [1, 2]], "things: rows of different lengths"),
        (np.ones((1, 4), complex), "type complex128"),
    ],
)
def test_other_boxes_are_refused(bad, said):
    with pytest.raises(DataError, match=said):
        as_boxes(bad, "things")


def test_scores_are_one_per_box():
    assert as_scores([1, 0.5], 2).tolist() == [1, 0.5]
    assert as_scores([1, 0], 2).dtype == np.float32
    assert as_scores([], 0).shape == (0,)
    assert as_scores(np.zeros((0, 1)), 0).shape == (0,)


@pytest.mark.parametrize(
    ("bad", "count", "said"),
    [
        ([1.0], 2, r"scores: found shape \(1,\); give one score for each of the 2 boxes"),
        ([[1.0, 2.0]], 2, r"found shape \(1, 2\)"),
        (["x"], 1, "found values of type <U1"),
        ([True], 1, "found values of type bool"),
    ],
)
def test_other_scores_are_refused(bad, count, said):
    with pytest.raises(DataError, match=said):
        as_scores(bad, count)


def test_usable_boxes_are_finite_and_have_an_inside():
    rows = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]]
    rows += [[np.nan, 0, 1, 1], [0, 0, np.inf, 1], [0, -np.inf, 1, 1], [-2, -2, -1, -1]]
    assert usable(np.array(rows, np.float32)).tolist() == [True, *[False] * 7, True]


def test_areas():
    assert box_area(A).tolist() == [8, 16, 2]
    assert box_area(np.array([[3, 0, 1, 5], [0, 3, 5, 1], [3, 3, 1, 1]], np.float32)).tolist() == [0, 0, 0]


def test_clipping_keeps_to_the_photo():
    clipped = clip_boxes(np.array([[-5, -6, 50, 60], [1, 2, 3, 4], [99, 99, 120, 130]]), 10, 20)
    assert clipped.tolist() == [[0, 0, 10, 20], [1, 2, 3, 4], [10, 20, 10, 20]]
    assert clipped.dtype == np.float32


def test_overlaps_of_a_table():
    assert intersection_matrix(A, A).tolist() == [[8, 2, 0], [2, 16, 0], [0, 0, 2]]
    assert iou_matrix(A, A[:2]) == pytest.approx(np.array([[1, 2 / 22], [2 / 22, 1], [0, 0]]))
    assert intersection_over_min(A, A[1:]) == pytest.approx(np.array([[0.25, 0], [1, 0], [0, 1]]))
    diagonal = np.array([[5, 3, 7, 9]], np.float32)  # both factors of the intersection are negative
    assert intersection_matrix(A[:1], diagonal).tolist() == [[0]]


def test_overlaps_of_empty_boxes_are_none():
    nothing = np.array([[1, 1, 1, 1]], np.float32)
    assert iou_matrix(nothing, nothing).tolist() == [[0]]
    assert intersection_over_min(nothing, A).tolist() == [[0, 0, 0]]
    assert iou_matrix(np.zeros((0, 4), np.float32), A).shape == (0, 3)


@given(boxes(), boxes(), st.integers(-20, 20), st.integers(1, 4))
def test_overlap_does_not_depend_on_place_scale_and_order(a, b, shift, scale):
    iou = iou_matrix(a, b)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.array_equal(iou, iou_matrix(b, a).T)
    assert iou_matrix((a + shift) * scale, (b + shift) * scale) == pytest.approx(iou, abs=1e-6)
    assert (intersection_over_min(a, b) >= iou - 1e-6).all()
    assert np.diag(iou_matrix(a, a)) == pytest.approx(1)


@given(boxes(12), st.permutations(range(12)), st.floats(0.05, 0.95))
def test_nms_is_the_greedy_rule(some, order, threshold):
    scores = (np.array(order, np.float32) + 1) / 20
    overlap, kept = iou_matrix(some, some), []
    for index in np.argsort(-scores):
        if all(overlap[index, other] <= threshold for other in kept):
            kept.append(index)
    if np.abs(overlap - threshold).min() > 1e-4:  # rounding decides otherwise
        assert nms(some, scores, threshold).tolist() == kept
        assert nms(some, scores, threshold, max_detections=2).tolist() == kept[:2]


def test_nms_leaves_out_what_is_no_box():
    some = np.array([[0, 0, 9, 9], [np.nan, 0, 9, 9], [5, 5, 5, 9], [20, 0, 30, 9]], np.float32)
    assert nms(some, np.array([0.5, 0.9, 0.9, 0.8], np.float32), 0.5).tolist() == [3, 0]
    assert nms(some, np.array([np.nan, 0.9, 0.9, np.inf], np.float32), 0.5).tolist() == []
    assert nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5).tolist() == []


def test_suppression_takes_what_lies_within_a_better_one():
    some = np.array([[0, 0, 10, 10], [1, 1, 3, 3], [8, 0, 18, 10], [9, 0, 11, 10]], np.float32)
    assert suppress_overlaps(some, np.array([4, 3, 2, 1], np.float32), 0.5).tolist() == [0, 2]
    assert suppress_overlaps(some, np.array([1, 4, 2, 3], np.float32), 0.5).tolist() == [1, 3]
    assert suppress_overlaps(some, np.array([4, 3, 2, 1], np.float32), 0.1).tolist() == [0]
    assert suppress_overlaps(some, np.ones(4, np.float32), 1.0).tolist() == [0, 1, 2, 3]
    assert suppress_overlaps(some[:0], np.zeros(0, np.float32), 0.5).tolist() == []


def test_union_is_the_smallest_box_around_all():
    assert union_box(A).tolist() == [0, 0, 11, 12]
    assert union_box([[1, 2, 3, 4], [0, 3, 2, 9]]).tolist() == [0, 2, 3, 9]

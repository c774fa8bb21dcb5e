import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.dataset import TruthVoid
from stocktake.errors import DataError
from stocktake.shelf.report import Void
from stocktake.shelf.void_scoring import (
    VoidSet,
    above,
    best_confidence,
    match_voids,
    score_voids,
    void_curve,
)


def void(x: float, width: float = 10, confidence: float = 1.0, facings: int = 1, kind: str = "gap") -> Void:
    return Void((x, 0, x + width, 10), 1, 1, facings, confidence, kind)


def some(*voids: Void) -> VoidSet:
    return VoidSet.of(voids)


def test_sets_hold_what_voids_say():
    mine = some(void(0, confidence=0.5, facings=2), void(50, kind="low_stock"))
    assert mine.boxes.tolist() == [[0, 0, 10, 10], [50, 0, 60, 10]]
    assert mine.facings.tolist() == [2, 1]
    assert mine.confidence.tolist() == [0.5, 1]
    assert mine.ignored.tolist() == [False, True]
    truth = VoidSet.of([TruthVoid((0, 0, 1, 2), 1, 3, "edge")])
    assert (truth.boxes.tolist(), truth.facings.tolist(), truth.confidence.tolist()) == (
        [[0, 0, 1, 2]],
        [3],
        [1],
    )
    assert len(some()) == 0


def test_sets_of_boxes_alone():
    mine = VoidSet.of_boxes([[0, 0, 1, 1], [1, 1, 2, 2]])
    assert (mine.facings.tolist(), mine.confidence.tolist(), mine.ignored.any()) == ([1, 1], [1, 1], False)
    assert VoidSet.of_boxes([[0, 0, 1, 1]], [0.25]).confidence.tolist() == [0.25]
    with pytest.raises(DataError, match="confidence: found shape"):
        VoidSet.of_boxes([[0, 0, 1, 1]], [0.25, 0.5])


def test_sets_can_be_picked_and_joined():
    mine = some(void(0), void(20, confidence=0.5, facings=3, kind="low_stock"))
    assert mine.pick(np.array([False, True])).facings.tolist() == [3]
    both = mine.join(some(void(90)))
    assert both.boxes[:, 0].tolist() == [0, 20, 90]
    assert both.ignored.tolist() == [False, True, False]
    assert [len(m) for m in above([both, mine], 0.75)] == [2, 1]
    assert [len(m) for m in above([both], 0.5)] == [3]


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ((void(0), void(50)), (void(50), void(0)), [1, 0]),
        ((void(0), void(1, confidence=0.9)), (void(0),), [0, -1]),
        ((void(1, confidence=0.9), void(0)), (void(0),), [-1, 0]),  # the surer one takes it
        ((void(4), void(0, confidence=0.9)), (void(0), void(6)), [1, 0]),  # each the one it overlaps most
        ((void(0),), (), [-1]),
        ((), (void(0),), []),
        ((void(0),), (void(0, kind="low_stock"),), [-2]),
        ((void(0, kind="low_stock"), void(50)), (void(0), void(50)), [-2, 1]),
        ((void(0),), (void(0, kind="low_stock"), void(2)), [1]),  # a real void before one that does not count
        ((void(0), void(30)), (void(0, kind="low_stock"), void(90)), [-2, -1]),
    ],
)
def test_matches(found, truth, expected):
    assert match_voids(some(*found), some(*truth)).tolist() == expected


@pytest.mark.parametrize(("iou", "expected"), [(0.3, 0), (1 / 3, 0), (0.34, -1)])
def test_overlap_must_reach_the_threshold(iou, expected):
    assert match_voids(some(void(0)), some(void(5)), iou).tolist() == [expected]  # 5 of 15 px shared
    ignored = match_voids(some(void(0)), some(void(5, kind="low_stock")), iou)
    assert ignored.tolist() == [-2 if expected == 0 else -1]


def test_scores_of_an_example():
    found = [
        some(void(0, 20, facings=2), void(50), void(80, kind="low_stock")),
        some(void(0), void(30, facings=3)),
    ]
    truth = [some(void(0, 20, facings=3), void(100)), some(void(1), void(30), void(70, kind="low_stock"))]
    score = score_voids(found, truth)
    assert (score.photos, score.known, score.found, score.hits) == (2, 4, 4, 3)
    assert (score.precision, score.recall, score.f1) == (0.75, 0.75, 0.75)
    assert score.false_per_photo == 0.5
    assert score.facing_error == pytest.approx((1 + 0 + 2) / 3)
    assert score.facing_recall == pytest.approx(5 / 6)


def test_scores_of_nothing():
    score = score_voids([some()], [some()])
    assert (score.precision, score.recall, score.f1, score.facing_recall, score.false_per_photo) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert np.isnan(score.facing_error)
    assert score_voids([], []).photos == 0
    assert score_voids([some(void(0))], [some()]).false_per_photo == 1


def test_facings_count_as_seen_however_they_are_merged_or_split():
    wide = [some(void(0, 40, facings=4))]
    split = [some(*(void(10 * k) for k in range(4)))]
    assert score_voids(wide, split).facing_recall == 1
    assert score_voids(split, wide).facing_recall == 1
    assert score_voids([some(void(0, 20))], wide).facing_recall == 0.5
    assert score_voids([some(void(0, 25))], wide).facing_recall == 0.75  # half a facing is enough
    assert score_voids([some(void(0, 24))], wide).facing_recall == 0.5
    assert score_voids([some(void(0, 40, kind="low_stock"))], wide).facing_recall == 0
    hidden = [some(void(0, 40, facings=4), void(60, kind="low_stock"))]
    assert score_voids(wide, hidden).facing_recall == 1


def test_the_curve_has_one_point_per_confidence():
    found = [
        some(void(0, confidence=0.9), void(50, confidence=0.5)),
        some(void(0, confidence=0.5), void(90, confidence=0.2)),
    ]
    truth = [some(void(0), void(50)), some(void(90), void(200, kind="low_stock"))]
    curve = void_curve(found, truth)
    assert curve.confidence.tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3, 3 / 4])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.f1.tolist() == pytest.approx([0.5, 2 / 3, 6 / 7])
    assert best_confidence(found, truth) == pytest.approx(0.2)


def test_the_best_confidence_is_the_highest_of_equals():
    found = [some(void(0, confidence=0.9), void(50, confidence=0.5), void(70, confidence=0.4))]
    truth = [some(void(0), void(200), void(70))]
    assert void_curve(found, truth).f1.tolist() == pytest.approx([0.5, 0.4, 2 / 3])
    assert best_confidence(
        [some(void(0, confidence=0.9), void(50, confidence=0.5))], [some()]
    ) == pytest.approx(0.9)
    assert best_confidence([some()], [some(void(0))]) == 1


def test_ignored_voids_are_not_on_the_curve():
    curve = void_curve([some(void(0, kind="low_stock", confidence=0.7))], [some(void(0))])
    assert len(curve.f1) == 0
    assert len(void_curve([], []).f1) == 0


def test_every_photo_needs_both():
    for function in (score_voids, void_curve):
        with pytest.raises(DataError, match="found ones of 1 photos, known ones of 2"):
            function([some()], [some(), some()])


spans = st.tuples(st.integers(0, 60), st.integers(5, 30), st.integers(1, 10))
sets = st.lists(spans, max_size=6).map(
    lambda rows: some(*(void(x, w, confidence=c / 10) for x, w, c in rows))
)


@given(st.lists(st.tuples(sets, sets), min_size=1, max_size=3), st.sampled_from([0.3, 0.5]))
def test_the_curve_agrees_with_the_scores_at_each_threshold(pairs, iou):
    found, truth = [f for f, _ in pairs], [t for _, t in pairs]
    curve = void_curve(found, truth, iou)
    for k, confidence in enumerate(curve.confidence):
        score = score_voids(above(found, confidence), truth, iou)
        assert (score.precision, score.recall) == pytest.approx((curve.precision[k], curve.recall[k]))
        assert score.f1 == pytest.approx(curve.f1[k])


@given(sets, sets)
def test_a_void_is_taken_once(found, truth):
    match = match_voids(found, truth)
    taken = match[match >= 0]
    assert len(set(taken.tolist())) == len(taken)
    assert (match < len(truth)).all()

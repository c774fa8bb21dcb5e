import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from stocktake.errors import DataError
from stocktake.shelf.report import Void
from stocktake.shelf.void_scoring import VoidSet, score_voids
from stocktake.shelf.voids import VoidSettings, analyse_shelf, find_voids
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf
from tests.plain_shelf import plain_photo, plain_shelf, sheared

FULL = plain_shelf(tiers=6)
GAPPED = plain_shelf(tiers=6, missing=((2, 4), (2, 8), (2, 9), (5, 10), (5, 9)))


def voids_of(boxes: np.ndarray, photo: np.ndarray | None = None, **changes: object) -> list[Void]:
    return find_voids(boxes, np.ones(len(boxes)), photo, VoidSettings(**changes))


def facts(voids: list[Void]) -> list[tuple[int, int, int, str]]:
    return sorted((v.tier, v.position, v.facings, v.kind) for v in voids)


def test_a_full_shelf():
    state = analyse_shelf(FULL, np.ones(60), None)
    assert (state.tiers, state.voids, state.osa) == (6, [], 1.0)
    assert state.tier_of_box.tolist() == np.repeat(range(1, 7), 10).tolist()
    assert state.front.all()


def test_tier_position_and_facings():
    voids = voids_of(GAPPED)
    assert facts(voids) == [(2, 4, 1, "gap"), (2, 8, 2, "gap"), (5, 9, 2, "edge")]
    boxes = {(v.tier, v.position): v.box for v in voids}
    assert boxes == {(2, 4): (250, 700, 300, 800), (2, 8): (450, 700, 550, 800), (5, 9): (500, 100, 600, 200)}
    assert [v.confidence for v in voids] == sorted((v.confidence for v in voids), reverse=True)
    assert all(0.5 <= v.confidence <= 1 for v in voids)


def test_availability_counts_facings():
    state = analyse_shelf(GAPPED, np.ones(55), None)
    assert state.osa == pytest.approx(55 / 60)
    stacked = np.concatenate([GAPPED, GAPPED[:3] - np.array([0, -60, 0, 103], np.float32)])
    assert analyse_shelf(stacked, np.ones(58), None).osa == pytest.approx(55 / 60)


def test_settings_choose_what_is_reported():
    assert facts(voids_of(GAPPED, edges=False)) == [(2, 4, 1, "gap"), (2, 8, 2, "gap")]
    assert facts(voids_of(GAPPED, min_room=1.5)) == [(2, 7, 2, "gap"), (5, 9, 2, "edge")]
    assert voids_of(GAPPED, min_confidence=1.0) == []
    sure = voids_of(GAPPED)[0].confidence
    assert [v.confidence for v in voids_of(GAPPED, min_confidence=sure)] == [sure]


def test_an_empty_tier_is_counted_as_a_tier():
    boxes = plain_shelf(tiers=6, missing=tuple((3, k) for k in range(1, 11))) + 200
    state = analyse_shelf(
        boxes, np.ones(50), plain_photo(boxes, height=1300), VoidSettings(min_confidence=0.05)
    )
    assert facts(state.voids) == [(3, 1, 10, "empty_tier")]
    assert state.tiers == 6
    assert state.tier_of_box.tolist() == np.repeat([1, 2, 4, 5, 6], 10).tolist()
    assert state.osa == pytest.approx(50 / 60)
    assert voids_of(boxes, min_confidence=0.0, empty_tiers=False) == []


@pytest.mark.parametrize("slope", [-0.2, 0.2])
def test_an_empty_tier_of_a_tilted_shelf(slope):
    boxes = sheared(plain_shelf(tiers=6, missing=tuple((3, k) for k in range(1, 11))), slope)
    state = analyse_shelf(boxes, np.ones(50), None, VoidSettings(min_confidence=0.0, edges=False))
    assert facts(state.voids) == [(3, 1, 10, "empty_tier")]
    assert state.tier_of_box.tolist() == np.repeat([1, 2, 4, 5, 6], 10).tolist()
    (void,) = state.voids
    assert void.box == pytest.approx((100, 440 + 350 * slope, 600, 600 + 350 * slope), abs=3)


def test_low_stock_is_no_alarm():
    boxes = plain_shelf(tiers=4, missing=((2, 4), (2, 5)))
    back = np.array([[252, 680, 298, 760], [302, 680, 348, 760]], np.float32)
    state = analyse_shelf(np.concatenate([boxes, back]), np.ones(40), None)
    assert facts(state.voids) == [(2, 4, 2, "low_stock")]
    assert state.osa == 1.0
    assert state.front.tolist() == [True] * 38 + [False] * 2
    assert state.tier_of_box[-2:].tolist() == [2, 2]


# the photo


def test_bare_gaps_are_voids_and_printed_ones_are_not():
    sold = voids_of(GAPPED, plain_photo(GAPPED))
    missed = voids_of(GAPPED, plain_photo(FULL))
    assert {(v.tier, v.position) for v in sold} >= {(2, 4), (2, 8)}
    assert missed == []


@pytest.mark.parametrize("back", [5, 90, 160])
def test_dark_and_light_backs_are_bare(back):
    found = {(v.tier, v.position) for v in voids_of(GAPPED, plain_photo(GAPPED, back=back))}
    assert {(2, 4), (2, 8)} <= found


def test_voids_stay_within_the_photo():
    boxes = plain_shelf(tiers=6, missing=((5, 1), (5, 2))) - np.array([110, 0, 110, 0], np.float32)
    photo = plain_photo(boxes)
    (void,) = voids_of(boxes, photo, min_confidence=0.0)
    assert void.box == pytest.approx((0, 100, 90, 200))
    assert voids_of(boxes, photo, min_confidence=0.0, min_room=1.9) == []


def test_facings_beyond_the_photo_are_not_counted():
    boxes = plain_shelf(tiers=6, missing=((5, 1), (5, 2), (5, 3), (5, 4))) - np.array(
        [200, 0, 200, 0], np.float32
    )
    boxes = boxes[boxes[:, 2] > 0] * np.array([1, 1, 1, 1], np.float32)
    beyond = plain_shelf(tiers=6)[40:44] - np.array([200, 0, 200, 0], np.float32)
    assert beyond[:, 0].min() == -100
    (void,) = voids_of(boxes, plain_photo(boxes), min_confidence=0.0)
    assert (void.box[0], void.box[2], void.facings) == (0, 100, 2)
    edge = plain_shelf(tiers=6, missing=((5, 7), (5, 8), (5, 9), (5, 10)))
    narrow = plain_photo(edge, width=450)  # half of the gap of four lies beyond
    clipped = [
        v for v in find_voids(edge, np.ones(56), narrow, VoidSettings(min_confidence=0)) if v.tier == 5
    ]
    assert [v.facings for v in clipped] in ([1], [])


def test_doubtful_flanks_lower_confidence():
    photo, scores = plain_photo(GAPPED), np.ones(len(GAPPED))
    scores[12] = 0.3  # left of the gap at position 4 of tier 2
    plain = {v.position: v.confidence for v in voids_of(GAPPED, photo, min_confidence=0) if v.tier == 2}
    doubt = {
        v.position: v.confidence
        for v in find_voids(GAPPED, scores, photo, VoidSettings(min_confidence=0))
        if v.tier == 2
    }
    assert doubt[4] < plain[4]
    assert doubt[8] == pytest.approx(plain[8])


def test_drawn_shelves():
    found, truth = [], []
    for seed in range(10):
        shelf = draw_shelf(np.random.default_rng(seed), DrawSettings.preset("default"))
        scores = np.ones(len(shelf.boxes))
        found.append(
            VoidSet.of(find_voids(shelf.boxes, scores, shelf.photo, VoidSettings(min_confidence=0.15)))
        )
        truth.append(VoidSet.of(shelf.voids))
    score = score_voids(found, truth)
    assert score.f1 >= 0.85
    assert score.facing_error <= 1


# what must not matter


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 2.0]), st.integers(-500, 500))
def test_place_scale_and_order_do_not_matter(seed, scale, shift):
    rng = np.random.default_rng(seed)
    boxes = plain_shelf(tiers=5, space=3)[rng.random(50) < 0.85]
    order = rng.permutation(len(boxes))
    plain = voids_of(boxes)
    other = voids_of(((boxes + shift) * scale)[order])
    assert facts(other) == facts(plain)
    key = lambda v: (v.tier, v.position, v.box)  # noqa: E731
    for mine, theirs in zip(sorted(plain, key=key), sorted(other, key=key), strict=True):
        assert theirs.confidence == pytest.approx(mine.confidence, abs=1e-3)
        assert theirs.box == pytest.approx((np.array(mine.box) + shift) * scale, abs=0.1 * scale)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_a_mirror_turns_positions_round(seed):
    rng = np.random.default_rng(seed)
    boxes = plain_shelf(tiers=5)[rng.random(50) < 0.85]
    mirrored = np.stack([700 - boxes[:, 2], boxes[:, 1], 700 - boxes[:, 0], boxes[:, 3]], axis=1)
    plain, other = voids_of(boxes), voids_of(mirrored)
    row = {tier: sum(v.facings for v in plain if v.tier == tier) for tier in range(1, 6)}
    for tier in row:
        row[tier] += int((boxes[:, 3] == 1000 - 200 * (tier - 1)).sum())
    turned = [(v.tier, row[v.tier] + 2 - v.position - v.facings, v.facings, v.kind) for v in other]
    assert sorted(turned) == facts(plain)


@pytest.mark.parametrize("slope", [-0.27, 0.27])
def test_tilt_does_not_matter(slope):
    assert facts(voids_of(sheared(GAPPED, slope), edges=False)) == [(2, 4, 1, "gap"), (2, 8, 2, "gap")]


def test_unusable_boxes_have_no_influence():
    bad = [
        [np.nan] * 4,
        [200, 700, 200, 800],
        [300, 800, 250, 700],
        [np.inf, 0, np.inf, 9],
        [-90, 0, -10, 50],
    ]
    bad += [[900, 0, 950, 100]]  # outside the photo
    mixed = np.concatenate([np.array(bad, np.float32), GAPPED])
    photo = plain_photo(GAPPED)
    mine = analyse_shelf(mixed, np.ones(len(mixed)), photo)
    plain = analyse_shelf(GAPPED, np.ones(len(GAPPED)), photo)
    assert mine.voids == plain.voids
    assert mine.tier_of_box.tolist() == [0] * 6 + plain.tier_of_box.tolist()
    assert mine.front.tolist() == [False] * 6 + plain.front.tolist()
    nan = analyse_shelf(mixed, np.r_[np.full(6, np.nan), np.ones(len(GAPPED))], photo)
    assert nan.voids == plain.voids
    unsure = analyse_shelf(GAPPED, np.r_[np.nan, np.ones(len(GAPPED) - 1)], None)
    assert unsure.tier_of_box.tolist() == [
        0,
        *analyse_shelf(GAPPED, np.ones(55), None).tier_of_box[1:].tolist(),
    ]


@pytest.mark.parametrize("photo", [None, np.zeros((3, 3, 3), np.uint8), np.zeros((0, 0, 3), np.uint8)])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_any_number_of_boxes_and_tiny_photos(count, photo):
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 900, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 90, (count, 2))], axis=1)
    state = analyse_shelf(boxes, rng.random(count), photo)
    assert state.tier_of_box.shape == state.front.shape == (count,)
    assert 0 <= state.osa <= 1
    assert all(v.facings >= 1 and v.position >= 1 and 1 <= v.tier <= state.tiers for v in state.voids)


@settings(deadline=None, max_examples=40)
@given(arrays(np.float32, (25, 4), elements=st.floats(-1e6, 1e6, width=32)), st.booleans())
def test_wild_boxes_do_no_harm(boxes, seen):
    photo = np.zeros((60, 80, 3), np.uint8) if seen else None
    for void in voids_of(boxes, photo, min_confidence=0.0):
        assert np.isfinite(void.box).all()
        assert 0 <= void.confidence <= 1


@pytest.mark.parametrize(
    ("boxes", "scores", "photo", "said"),
    [
        ([[1, 2, 3]], [1], None, "boxes: found shape"),
        ([["a"] * 4], [1], None, "boxes: found values of type"),
        (FULL, np.ones(3), None, "scores: found shape"),
        (FULL, np.ones(60), np.zeros((5, 5), np.uint8), r"photo: found uint8 \(5, 5\); give an RGB array"),
        (FULL, np.ones(60), np.zeros((5, 5, 4), np.uint8), r"photo: found uint8 \(5, 5, 4\)"),
        (FULL, np.ones(60), np.zeros((5, 5, 3)), r"photo: found float64 \(5, 5, 3\)"),
        (FULL, np.ones(60), "shelf.jpg", "photo: found str"),
    ],
)
def test_wrong_arrays_are_refused(boxes, scores, photo, said):
    with pytest.raises(DataError, match=said):
        find_voids(boxes, scores, photo)


def test_settings_are_checked_and_go_into_a_card():
    with pytest.raises(ValidationError, match="min_confidence"):
        VoidSettings(min_confidence=1.5)
    with pytest.raises(ValidationError, match="min_room"):
        VoidSettings(min_room=0)
    with pytest.raises(ValidationError, match="min_rom"):
        VoidSettings(min_rom=1)
    some = VoidSettings(min_room=0.7)
    with pytest.raises(ValidationError, match="frozen"):
        some.min_room = 0.8
    assert VoidSettings(**json.loads(json.dumps(some.model_dump()))) == some

"""Which places of two photos are the same, against an exhaustive and a known solver."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from stocktake.alerts.places import Place, assign, likeness

SLACK, LEAST = 0.02, 0.5


@st.composite
def tiers(draw, tier: int = 1) -> list[Place]:
    """Voids of one tier: they do not overlap."""
    ends = sorted(draw(st.lists(st.integers(0, 100), max_size=10, unique=True)))
    return [Place(tier, x0 / 100, x1 / 100) for x0, x1 in zip(ends[::2], ends[1::2], strict=False)]


def total(pairs: dict[int, int], known: list[Place], seen: list[Place]) -> float:
    return sum(likeness(known[k], seen[s], SLACK, LEAST) for k, s in pairs.items())


def best_in_order(known: list[Place], seen: list[Place]) -> float:
    if not known or not seen:
        return 0.0
    skipped = best_in_order(known[1:], seen)
    return max(
        skipped,
        *(
            likeness(known[0], seen[s], SLACK, LEAST) + best_in_order(known[1:], seen[s + 1 :])
            for s in range(len(seen))
        ),
    )


@given(tiers(), tiers())
def test_the_assignment_is_one_to_one_in_order_and_the_best(known, seen):
    pairs = assign(known, seen, SLACK, LEAST)
    assert len(set(pairs.values())) == len(pairs)
    assert [pairs[k] for k in sorted(pairs)] == sorted(pairs.values())
    assert all(likeness(known[k], seen[s], SLACK, LEAST) > 0 for k, s in pairs.items())
    assert total(pairs, known, seen) == pytest.approx(best_in_order(known, seen))


@given(tiers(), st.floats(-0.019, 0.019), st.floats(0.99, 1.01))
def test_a_shift_and_a_zoom_within_the_slack_lose_nothing(known, shift, zoom):
    known = [place for place in known if place.width >= 0.02]
    seen = [Place(1, place.x0 * zoom + shift, place.x1 * zoom + shift) for place in known]
    pairs = assign(known, seen, 0.03, LEAST)
    cost = np.array([[likeness(k, s, 0.03, LEAST) for s in seen] for k in known]).reshape(
        len(known), len(seen)
    )
    rows, columns = linear_sum_assignment(cost, maximize=True)
    free = cost[rows, columns].sum()
    found = sum(cost[k, s] for k, s in pairs.items())
    assert found == pytest.approx(free)  # order costs nothing on a shelf
    if all(b.x0 - a.x1 > 0.1 for a, b in pairwise(known)):
        assert pairs == {number: number for number in range(len(known))}


@pytest.mark.parametrize(
    ("seen", "same"),
    [
        (Place(1, 0.30, 0.36), True),
        (Place(1, 0.34, 0.40), True),  # shifted by two thirds of a facing
        (Place(1, 0.36, 0.42), False),  # the next facing
        (Place(2, 0.30, 0.36), False),
        (Place(1, 0.30, 0.60), True),  # it has grown
        (Place(1, 0.33, 0.33), True),
    ],
)
def test_what_is_the_same_place(seen, same):
    assert (likeness(Place(1, 0.30, 0.36), seen, SLACK, LEAST) > 0) is same

"""A post or a door frame hides products on every board; voids rarely stand in one column of four."""

import numpy as np
import pytest

from stocktake.shelf.voids import find_voids
from tests.plain_shelf import plain_shelf, sheared


def gaps(boxes):
    return [void for void in find_voids(boxes, np.ones(len(boxes), np.float32), None) if void.kind == "gap"]


def column(tiers):
    return tuple((tier, 5) for tier in tiers)


@pytest.mark.parametrize("tiers", [4, 6])
@pytest.mark.parametrize("slope", [0.0, 0.06])
def test_gaps_of_many_tiers_in_one_column_are_a_post(tiers, slope):
    boxes = plain_shelf(tiers=tiers, missing=column(range(1, tiers + 1)))
    leaning = boxes.copy()
    leaning[:, [0, 2]] -= slope * boxes[:, [3]]  # as seen by the camera that tilts the boards

    assert gaps(sheared(leaning, slope)) == []


def test_three_gaps_in_one_column_may_be_voids():
    assert len(gaps(plain_shelf(tiers=6, missing=column([1, 2, 3])))) == 3


def test_gaps_of_many_tiers_in_different_columns_are_voids():
    assert len(gaps(plain_shelf(tiers=6, missing=((1, 2), (2, 4), (3, 6), (4, 8), (5, 3), (6, 7))))) == 6

"""The population stability index against its definition, and against chance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chi2

from stocktake.drift.histograms import Histogram

VALUES = st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float), min_size=1, max_size=60)


def test_the_index_as_it_is_defined():
    drift = Histogram(edges=[1.0], counts=[50, 50]).compare([0.0] * 8 + [2.0] * 2)
    assert drift.psi == pytest.approx(0.3 * math.log(0.8 / 0.5) - 0.3 * math.log(0.2 / 0.5))
    assert drift.chance == pytest.approx((1 / 100 + 1 / 10) * chi2.ppf(0.99, 1), rel=0.03)
    assert (drift.values, drift.is_noticeable, drift.is_large) == (10, False, False)
    assert Histogram(edges=[1.0], counts=[500, 500]).compare([0.0] * 80 + [2.0] * 20).is_large


@given(VALUES)
def test_values_do_not_differ_from_themselves(values):
    histogram = Histogram.of(values)
    drift = histogram.compare(values)
    assert drift.psi == pytest.approx(0, abs=1e-9)
    assert sum(histogram.counts) == drift.values == len(values)
    assert not drift.is_noticeable


@given(VALUES, VALUES)
def test_the_index_is_never_negative(then, now):
    assert Histogram.of(then).compare(now).psi >= -1e-12


def test_bins_hold_about_as_many_each():
    counts = Histogram.of(np.random.default_rng(0).normal(size=1000)).counts
    assert len(counts) == 10
    assert max(counts) - min(counts) <= 1


def test_few_distinct_values_make_few_bins():
    histogram = Histogram.of([1, 1, 1, 2, 2, 5])
    assert (histogram.edges, histogram.counts) == ([1, 2], [3, 2, 1])
    assert Histogram.of([7, 7]).compare([7, 7]).psi == 0


def test_chance_alone_is_seldom_drift_and_a_shift_always_is():
    random = np.random.default_rng(1)
    references = [Histogram.of(random.normal(size=500)) for _ in range(500)]
    same = [reference.compare(random.normal(size=100)) for reference in references]
    moved = [reference.compare(random.normal(0.8, size=100)) for reference in references]
    assert 0.002 < np.mean([drift.psi > drift.chance for drift in same]) < 0.03
    assert np.mean([drift.is_large for drift in same]) < 0.03
    assert all(drift.is_large for drift in moved)


@pytest.mark.parametrize(
    "fields",
    [
        {"edges": [1, 1], "counts": [1, 1, 1]},
        {"edges": [1], "counts": [1]},
        {"edges": [], "counts": [0]},
        {"edges": [1], "counts": [-1, 2]},
        {"edges": [math.nan], "counts": [1, 2]},
    ],
)
def test_what_is_no_histogram(fields):
    with pytest.raises(ValidationError):
        Histogram(**fields)

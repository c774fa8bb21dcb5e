"""Intervals: right as often as they say, and as wide as groups make them."""

import numpy as np
import pytest

from stocktake.bootstrap import estimate, resampled_means


def test_means_are_those_of_drawn_groups():
    """Two groups of one value each: a round draws the first one zero, one or two times."""
    values = np.array([[0.0, 5.0], [0.0, 5.0], [1.0, 5.0], [1.0, 5.0]])
    means = resampled_means(values, np.array([0, 0, 1, 1]), rounds=2000)
    assert set(means[:, 0]) == {0.0, 0.5, 1.0}
    assert set(means[:, 1]) == {5.0}
    assert np.mean(means[:, 0] == 0.5) == pytest.approx(0.5, abs=0.05)


def test_large_groups_weigh_more():
    means = resampled_means(np.array([[0.0], [1.0], [1.0], [1.0]]), np.array([0, 1, 1, 1]), rounds=500)
    assert set(means[:, 0]) == {0.0, 0.75, 1.0}


def test_the_same_seed_draws_the_same_groups_in_any_block(monkeypatch):
    rng = np.random.default_rng(0)
    values, group_of = rng.random((60, 1)), np.arange(60) // 3
    whole = resampled_means(values, group_of, rounds=50, seed=3)
    monkeypatch.setattr("stocktake.bootstrap._AT_ONCE", 1)
    assert resampled_means(values, group_of, rounds=50, seed=3) == pytest.approx(whole)
    assert not np.allclose(resampled_means(values, group_of, rounds=50, seed=4), whole)


@pytest.mark.parametrize("alike", [1, 10])
def test_the_interval_holds_the_truth_nineteen_times_in_twenty(alike):
    """100 groups of photos that are all right or all wrong: as if there were 100 photos, however many."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        right = np.repeat(rng.random(100) < 0.7, alike).astype(float)
        rounds = resampled_means(right[:, None], np.repeat(np.arange(100), alike), rounds=300)
        _, low, high = estimate(right.mean(), rounds[:, 0])
        held += low <= 0.7 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_an_estimate_reads_well():
    assert str(estimate(0.5, np.linspace(0.4, 0.6, 1001))) == "0.500 (0.405 to 0.595)"

"""Rates worked out by hand, and the promise about wrong accepts tried out on photos that are new."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from stocktake.bins.verification import (
    VerificationSettings,
    accept_curve,
    argmax_curve,
    choose_settings,
    record_support,
    wrong_records,
)
from stocktake.errors import SettingsError

CLASSES = np.arange(1, 6)


def test_by_default_a_person_is_always_asked():
    assert {VerificationSettings().verdict(share) for share in (0.0, 0.5, 1.0)} == {"ask"}
    assert VerificationSettings().model_dump() == {
        "accept_above": 1.0,
        "reject_below": 0.0,
        "error_rate": 0.05,
    }


@pytest.mark.parametrize("field", ["accept_above", "reject_below", "error_rate"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_thresholds_are_shares(field, value):
    with pytest.raises(ValidationError, match=field):
        VerificationSettings.model_validate({"accept_above": 1.0, field: value})


def test_thresholds_are_not_changed_in_passing():
    chosen = VerificationSettings()
    with pytest.raises(ValidationError):
        chosen.accept_above = 0.0


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.5, float("nan")])
def test_impossible_error_rates_are_refused(rate):
    with pytest.raises(SettingsError, match=r"error_rate is .*; it must be over 0 and below 1"):
        choose_settings(np.eye(5), np.arange(5), CLASSES, groups=5, error_rate=rate)


def test_verdicts_at_the_thresholds():
    chosen = VerificationSettings(accept_above=0.8, reject_below=0.1)
    assert [chosen.verdict(share) for share in (0.09, 0.1, 0.8, 0.81)] == ["reject", "ask", "ask", "accept"]


def test_thresholds_must_be_in_order():
    with pytest.raises(ValidationError, match=r"reject_below 0\.6 is over accept_above 0\.5"):
        VerificationSettings(accept_above=0.5, reject_below=0.6)


def test_half_of_the_wrong_records_are_off_by_one():
    weights = wrong_records(np.array([0, 2, 4]), CLASSES)

    assert weights[0] == pytest.approx([0, 0.5 + 0.125, 0.125, 0.125, 0.125])
    assert weights[1] == pytest.approx([0.125, 0.375, 0, 0.375, 0.125])
    assert weights[2] == pytest.approx([0.125, 0.125, 0.125, 0.625, 0])


def test_a_count_without_neighbours_is_mistaken_for_any_other():
    assert wrong_records(np.array([2]), np.array([1, 2, 9]))[0] == pytest.approx([0.5, 0.5, 0])


def test_the_curve_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
    truth = np.array([0, 1, 2])
    wrong = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.25, 0.75, 0]])

    curve = accept_curve(probabilities, truth, wrong)

    assert curve.score == pytest.approx([0.7, 0.6, 0.5, 0.3, 0.2, 0.1])
    assert curve.right * 3 == pytest.approx([1, 2, 2, 3, 3, 3])
    assert curve.wrong * 3 == pytest.approx([0, 0, 0.75, 1.25, 2.0, 3.0])
    assert curve.right_at(0.0) == pytest.approx(2 / 3)
    assert curve.right_at(0.3) == pytest.approx(2 / 3)
    assert curve.right_at(0.4) == pytest.approx(2 / 3)
    assert curve.right_at(1.25 / 3) == pytest.approx(1.0)


def test_a_curve_that_begins_with_a_wrong_record_accepts_nothing_without_error():
    curve = accept_curve(np.array([[0.3, 0.7]]), np.array([0]), np.array([[0.0, 1.0]]))
    assert [curve.right_at(error) for error in (0.0, 0.99, 1.0)] == [0.0, 0.0, 1.0]


def test_the_argmax_rule_accepts_the_most_probable_count_alone():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
    truth = np.array([0, 1, 2])

    curve = argmax_curve(probabilities, truth, wrong_records(truth, np.arange(3)))

    assert curve.score == pytest.approx([0.7, 0.6, 0.5])
    assert curve.right[-1] == pytest.approx(2 / 3)  # its accuracy
    assert curve.wrong[-1] == pytest.approx((0.5 + 0.25) / 3)
    assert curve.right_at(0.0) == pytest.approx(2 / 3)


def test_with_too_few_photos_a_person_is_asked():
    probabilities = np.full((18, 5), 0.05) + 0.75 * np.eye(5)[np.arange(18) % 5]
    truth = np.arange(18) % 5
    assert choose_settings(probabilities, truth, CLASSES, groups=18) == VerificationSettings()
    assert choose_settings(probabilities, truth, CLASSES, groups=19) != VerificationSettings()


def test_perfect_probabilities_need_no_person():
    truth = np.arange(100) % 5
    probabilities = np.full((100, 5), 0.01) + 0.95 * np.eye(5)[truth]

    chosen = choose_settings(probabilities, truth, CLASSES, groups=100)

    support = record_support(probabilities, CLASSES)
    assert {chosen.verdict(float(s)) for s in support[np.arange(100), truth]} == {"accept"}
    assert {chosen.verdict(float(s)) for s in support[np.arange(100), (truth + 2) % 5]} <= {"ask", "reject"}


def test_a_rate_that_is_just_allowed_is_used():
    """Of 19 photos three look like another count; at 20 % a share of (.2 * 20 - 1) / 19 = 3 / 19 may be."""
    truth = np.zeros(19, int)
    probabilities = np.tile([0.9, 0.1], (19, 1))
    probabilities[:3] = [[0.3, 0.7], [0.2, 0.8], [0.1, 0.9]]

    chosen = choose_settings(probabilities, truth, np.array([1, 2]), groups=19, error_rate=0.2)

    support = record_support(probabilities, np.array([1, 2]))
    assert (support[:, 1] > chosen.accept_above).sum() == 3
    assert (support[:, 0] > chosen.accept_above).sum() == 18
    assert (support[:, 0] < chosen.reject_below).sum() <= 3


def simulate(rng, photos, classes=5, noise=1.0):
    """Photos of a model that knows how little it knows: P(count) is right by construction."""
    truth = rng.integers(0, classes, photos)
    seen = truth + rng.normal(0, noise, photos)
    likelihood = np.exp(-((seen[:, None] - np.arange(classes)) ** 2) / (2 * noise**2))
    return likelihood / likelihood.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("error_rate", [0.05, 0.2])
def test_on_new_photos_errors_stay_within_the_rate_on_average(error_rate):
    rng = np.random.default_rng(0)
    wrong_accepts, wrong_rejects = [], []
    for _ in range(200):
        probabilities, truth = simulate(rng, 80)
        chosen = choose_settings(probabilities, truth, CLASSES, groups=80, error_rate=error_rate)
        fresh, known = simulate(rng, 400)
        support = record_support(fresh, CLASSES)
        accepted = support > chosen.accept_above
        wrong_accepts.append((accepted * wrong_records(known, CLASSES)).sum(axis=1).mean())
        wrong_rejects.append((support[np.arange(400), known] < chosen.reject_below).mean())

    assert 0.6 * error_rate < np.mean(wrong_accepts) < 1.1 * error_rate
    assert 0.6 * error_rate < np.mean(wrong_rejects) < 1.1 * error_rate


@pytest.mark.parametrize("noise", [0.3, 0.5, 1.0])
def test_support_accepts_more_than_the_argmax_rule_at_the_same_error(noise):
    probabilities, truth = simulate(np.random.default_rng(1), 20_000, noise=noise)
    wrong = wrong_records(truth, CLASSES)
    plain = argmax_curve(probabilities, truth, wrong)
    graded = accept_curve(record_support(probabilities, CLASSES), truth, wrong)
    for error in (0.05, float(plain.wrong[-1])):
        assert graded.right_at(error) > plain.right_at(error)


def test_support_by_hand():
    """Two neighbours of equal probability leave less doubt about 1, which has fewer neighbours, than 2."""
    (support,) = record_support(np.array([[0.5, 0.5, 0.0]]), np.array([1, 2, 3]))
    # 1 is recorded for 2 with .5 * .5 + .5 * .5 = .5, 2 is recorded for 1 with .5 + .25 = .75
    assert support == pytest.approx([0.5 / 0.75, 0.5 / 0.875, 0.0])


rows = arrays(float, st.tuples(st.integers(1, 30), st.integers(2, 6)), elements=st.floats(0.01, 1))


@settings(max_examples=100, deadline=None)
@given(rows, st.integers(0, 2**32 - 1))
def test_curves_rise_to_everything(raw, seed):
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    count = raw.shape[1]
    truth = np.random.default_rng(seed).integers(0, count, len(raw))
    wrong = wrong_records(truth, np.arange(count))
    assert wrong.sum(axis=1) == pytest.approx(np.ones(len(raw)))
    curve = accept_curve(probabilities, truth, wrong)
    assert (np.diff(curve.score) < 0).all()
    assert (np.diff(curve.right) >= 0).all()
    assert (np.diff(curve.wrong) >= -1e-12).all()
    assert (curve.right[-1], curve.wrong[-1]) == pytest.approx((1, 1))
    for threshold, right in zip(curve.score, curve.right, strict=True):
        accepted = probabilities[np.arange(len(raw)), truth] >= threshold
        assert accepted.mean() == pytest.approx(right)

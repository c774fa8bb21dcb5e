import numpy as np
import pytest

from stocktake.calibration import calibration_bins


def test_ece_by_hand():
    """Ten answers at .95 of which eight are right, ten at .55 of which five are: (.15 + .05) / 2."""
    confidence = np.repeat([0.95, 0.55], 10)
    hit = np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 5)

    bins = calibration_bins(confidence, hit, 10)

    assert bins.ece == pytest.approx(0.1)
    assert bins.total.tolist() == [0, 0, 0, 0, 0, 10, 0, 0, 0, 10]
    assert bins.rows()[1] == {
        "confidence": "0.90 to 1.00",
        "answers": 10,
        "said": pytest.approx(0.95),
        "right": pytest.approx(0.8),
    }


def test_being_too_sure_and_too_modest_do_not_cancel_out():
    bins = calibration_bins(np.array([0.9, 0.1]), np.array([False, True]), 10)
    assert bins.ece == pytest.approx(0.9)


def test_full_confidence_is_in_the_last_bin():
    bins = calibration_bins(np.array([1.0, 0.0]), np.array([True, False]), 15)
    assert (bins.total[0], bins.total[-1], bins.ece) == (1, 1, 0.0)

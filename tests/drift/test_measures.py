"""Brightness and sharpness of drawn photos, and what answers amount to."""

import cv2
import numpy as np
import pytest

from stocktake.drift.measures import measure_bin, measure_photo, measure_pixels, measure_shelf
from stocktake.errors import UnsupportedImage
from stocktake.images import encode_jpeg
from tests.tiny_model import draw_photo

PHOTO = draw_photo([(0, 2), (1, 2), (2, 2), (5, 2), (1, 5)])


def test_a_darker_photo_is_darker_and_a_blurred_one_less_sharp():
    sharp = measure_pixels(PHOTO)
    dark, blurred = measure_pixels(PHOTO // 2), measure_pixels(cv2.GaussianBlur(PHOTO, (0, 0), 6))
    assert dark["brightness"] == pytest.approx(sharp["brightness"] / 2, abs=1)
    assert blurred["sharpness"] < sharp["sharpness"] - 0.5
    assert blurred["brightness"] == pytest.approx(sharp["brightness"], abs=1)


def test_one_grey_has_no_edges():
    assert measure_pixels(np.full((20, 30, 3), 77, np.uint8)) == {"brightness": 77.0, "sharpness": 0.0}


def test_the_size_of_a_photo_matters_little():
    small, large = (cv2.resize(PHOTO, (side, side), interpolation=cv2.INTER_CUBIC) for side in (960, 2400))
    small, reduced = measure_pixels(small), measure_photo(encode_jpeg(large, 95))
    assert reduced["brightness"] == pytest.approx(small["brightness"], abs=2)
    assert reduced["sharpness"] == pytest.approx(small["sharpness"], abs=0.5)


def test_what_is_no_photo():
    with pytest.raises(UnsupportedImage):
        measure_photo(b"<svg/>")


def test_answers():
    assert measure_shelf({"products": 2}, [0.5, 0.7]) == {"products": 2, "score": pytest.approx(0.6)}
    assert measure_shelf({"products": 0}, []) == {"products": 0}
    assert measure_bin({"count": 3, "probabilities": [0.2, 0.8]}) == {"count": 3, "probability": 0.8}

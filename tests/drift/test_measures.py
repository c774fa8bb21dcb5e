"""Brightness and sharpness of drawn photos, and what answers amount to."""

import cv2
import numpy as np
import pytest
from PIL import Image

from stocktake.drift.measures import SIDE, measure_bin, measure_photo, measure_shelf
from stocktake.errors import UnsupportedImage
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf
from tests.encoded_photos import encode, exif_block
from tests.tiny_model import draw_photo

PHOTO = draw_photo([(0, 2), (1, 2), (2, 2), (5, 2), (1, 5)])


@pytest.fixture(scope="module")
def shelf():
    """(H, W, 3) px of 2560 on its longer side."""
    return draw_shelf(np.random.default_rng(0), DrawSettings(width=1920, height=2560)).photo


def measure(pixels, **options):
    """Of a file that keeps them as they are, or of a JPEG."""
    kind = "JPEG" if options else "PNG"
    return measure_photo(encode(Image.fromarray(pixels), kind, **options))


def measure_fully(pixels):
    """By the definition, from all pixels: what a reduced decode must stay close to."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = SIDE / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return grey.mean(), np.log1p(cv2.Laplacian(small, cv2.CV_64F).var())


def test_a_darker_photo_is_darker_and_a_blurred_one_less_sharp():
    sharp, dark = measure(PHOTO), measure(PHOTO // 2)
    blurred = measure(cv2.GaussianBlur(PHOTO, (0, 0), 6))
    assert dark["brightness"] == pytest.approx(sharp["brightness"] / 2, abs=1)
    assert blurred["sharpness"] < sharp["sharpness"] - 0.5
    assert blurred["brightness"] == pytest.approx(sharp["brightness"], abs=1)


def test_one_grey_has_no_edges():
    for size in ((20, 30), (1, 1), (1000, 2)):
        one_grey = np.full((*size, 3), 77, np.uint8)
        assert measure(one_grey) == {"brightness": 77.0, "sharpness": 0.0}


def test_a_photo_on_its_side_measures_the_same():
    options = {"quality": 90, "exif": exif_block(6)}
    assert measure(PHOTO, **options) == measure(PHOTO, quality=90)


@pytest.mark.parametrize("long_side", [2560, 1920, 1500, 1280, 960])
@pytest.mark.parametrize("options", [{"quality": 90}, {}], ids=["jpeg", "png"])
def test_a_reduced_decode_measures_what_a_full_one_does(shelf, long_side, options):
    height, width = (round(side * long_side / max(shelf.shape)) for side in shelf.shape[:2])
    photo = cv2.resize(shelf, (width, height), interpolation=cv2.INTER_AREA)
    brightness, sharpness = measure_fully(photo)
    found = measure(photo, **options)
    assert found["brightness"] == pytest.approx(brightness, abs=1)
    assert found["sharpness"] == pytest.approx(sharpness, abs=0.15)


def test_what_is_no_photo():
    with pytest.raises(UnsupportedImage):
        measure_photo(b"<svg/>")


def test_answers():
    assert measure_shelf({"products": 2}, [0.5, 0.7]) == {"products": 2, "score": pytest.approx(0.6)}
    assert measure_shelf({"products": 0}, []) == {"products": 0}
    assert measure_bin({"count": 3, "probabilities": [0.2, 0.8]}) == {"count": 3, "probability": 0.8}

import cv2
import numpy as np
import pytest

from stocktake.bins.blob_count import count_blobs
from stocktake.synthetic.bins import draw_bin


def test_patches_apart_on_a_plain_ground_are_counted():
    photo = np.full((240, 320, 3), (190, 170, 110), np.uint8)
    for x, colour in ((60, (30, 40, 160)), (150, (200, 30, 40)), (240, (20, 130, 60))):
        cv2.rectangle(photo, (x, 90), (x + 40, 150), colour, -1)
    assert count_blobs(photo) == 3


def test_patches_that_touch_are_one():
    photo = np.full((240, 320, 3), (190, 170, 110), np.uint8)
    cv2.rectangle(photo, (100, 90), (140, 150), (30, 40, 160), -1)
    cv2.rectangle(photo, (141, 90), (180, 150), (20, 30, 140), -1)
    assert count_blobs(photo) == 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (300, 7, 3), (240, 320, 3)])
def test_an_even_photo_holds_nothing(shape):
    assert count_blobs(np.full(shape, 120, np.uint8)) == 0


def test_on_drawn_bins_it_is_seldom_right():
    rng = np.random.default_rng(11)
    right = [
        count_blobs(draw_bin(rng, quantity=quantity).photo) == quantity for quantity in [1, 2, 3, 4, 5] * 12
    ]
    assert np.mean(right) <= 0.4

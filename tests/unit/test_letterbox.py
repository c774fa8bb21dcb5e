import numpy as np
import pytest

from stocktake.letterbox import PADDING, letterbox


@pytest.mark.parametrize(
    ("height", "width"),
    [(640, 480), (480, 640), (101, 640), (317, 203), (2000, 3), (1, 1), (640, 640), (333, 334)],
)
@pytest.mark.parametrize("size", [640, 416])
def test_letterbox_is_the_one_of_training(height, width, size):
    from ultralytics.data.augment import LetterBox

    photo = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)

    fitted = letterbox(photo, size)

    assert (fitted.square == LetterBox(new_shape=(size, size))(image=photo)).all()


def test_antialiasing_takes_every_pixel_of_a_shrunk_photo_in():
    threads = np.zeros((400, 800, 3), np.uint8)
    threads[::8] = 240  # one row of eight: their mean is 30

    smooth, bilinear = (letterbox(threads, 100, antialias).square[25:75] for antialias in (True, False))

    assert (smooth == 30).all()
    assert (bilinear != 30).all()
    small = threads[:20, :50]
    assert (letterbox(small, 100, antialias=True).square == letterbox(small, 100).square).all()


def test_letterbox_maps_boxes_back():
    photo = np.zeros((300, 600, 3), np.uint8)
    fitted = letterbox(photo, 320)

    assert (fitted.left, fitted.top, fitted.square[0, 0].tolist()) == (0, 80, [PADDING] * 3)
    boxes = fitted.to_photo(np.array([[0, 80, 320, 240], [32, 96, 64, 112]], np.float32))
    assert boxes == pytest.approx(np.array([[0, 0, 600, 300], [60, 30, 120, 60]]))


@pytest.mark.parametrize(("height", "width"), [(333, 1000), (1000, 333), (2449, 1377), (7, 4000)])
def test_the_far_corner_maps_back_to_the_far_corner(height, width):
    """Sides are rounded to whole pixels, each by its own share."""
    fitted = letterbox(np.zeros((height, width, 3), np.uint8), 416)

    inside = np.argwhere((fitted.square == 0).all(axis=2))
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
    corners = fitted.to_photo(np.array([[left, top, right, bottom]], np.float32))
    assert corners[0] == pytest.approx([0, 0, width, height], abs=1e-2)

import cv2
import numpy as np
import pytest

from stocktake.shelf.tilt import tilt_photo, tilt_products, tilt_voids
from stocktake.shelf.void_scoring import VoidSet

WIDTH, HEIGHT = 300, 400


def centre_of_mark(photo: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(photo[..., 0] > 128)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


@pytest.mark.parametrize("degrees", [-15.0, 15.0, 7.5])
@pytest.mark.parametrize("box", [(120, 150, 150, 190), (180, 250, 220, 280), (60, 180, 80, 220)])
def test_boxes_follow_the_pixels(box: tuple[int, int, int, int], degrees: float):
    x1, y1, x2, y2 = box
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    photo[y1:y2, x1:x2] = 255
    (moved,) = tilt_products(np.array([box], np.float32), WIDTH, HEIGHT, degrees)
    assert centre_of_mark(tilt_photo(photo, degrees)) == pytest.approx((moved[:2] + moved[2:]) / 2, abs=1.0)


def test_clockwise_means_that_the_right_side_sinks():
    left_and_right = np.array([[50, 190, 70, 210], [230, 190, 250, 210]], np.float32)
    left, right = tilt_products(left_and_right, WIDTH, HEIGHT, 10)
    assert left[1] < 190 < right[1]


def test_the_turned_photo_has_no_empty_corner():
    photo = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    matrix_free = cv2.copyMakeBorder(
        photo, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
    )  # a black rim would show
    turned = tilt_photo(matrix_free, 15)
    assert turned[3:-3, 3:-3].min() == 200


def test_no_tilt_changes_nothing():
    boxes = np.array([[10, 20, 60, 90], [200, 300, 250, 380]], np.float32)
    assert tilt_products(boxes, WIDTH, HEIGHT, 0) == pytest.approx(boxes)


def test_products_that_leave_the_frame_lose_their_box_and_their_say():
    middle, corner = (140, 190, 160, 210), (0, 0, 30, 30)
    boxes = np.array([middle, corner], np.float32)
    assert len(tilt_products(boxes, WIDTH, HEIGHT, 15)) == 1
    nothing = tilt_voids(VoidSet.of_boxes([]), boxes, WIDTH, HEIGHT, 15)
    assert nothing.ignored.all()


def test_voids_cut_by_the_frame_count_neither_way():
    """At -15 degrees less than a third of the second is left in the frame, and of the third nothing."""
    voids = VoidSet.of_boxes([(140, 190, 160, 210), (10, 190, 40, 210), (0, 0, 20, 20)])
    turned = tilt_voids(voids, np.zeros((0, 4), np.float32), WIDTH, HEIGHT, -15)
    assert turned.ignored.tolist() == [False, True]
    assert (turned.boxes[:, [0, 1]] >= 0).all()
    assert (turned.boxes[:, 2] <= WIDTH).all()

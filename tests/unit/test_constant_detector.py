import numpy as np
import pytest

from stocktake.dataset import Photo
from stocktake.errors import DataError
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.constant_detector import ConstantDetector


def photo(boxes: list[tuple[float, ...]], width: int = 150, height: int = 200) -> Photo:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Photo("p.jpg", "p.jpg", 1, "0", width, height, "train", "g", array)


def test_learns_where_products_stand_and_how_often():
    detector = ConstantDetector.fit(
        [
            photo([(1, 1, 8, 9)]),
            photo([(1, 1, 8, 9), (101, 151, 108, 159)]),
            photo([(2, 2, 18, 18)], 300, 400),
        ]
    )
    boxes, scores = detector.detect(150, 200)
    assert boxes == pytest.approx(np.array([(1, 1, 8, 9), (101, 151, 108, 159)]))
    assert scores == pytest.approx([1.0, 1 / 3])


def test_boxes_scale_with_the_photo():
    detector = ConstantDetector.fit([photo([(15, 20, 30, 40)])])
    assert detector.detect(1500, 100)[0] == pytest.approx(np.array([(150, 10, 300, 20)]))


def test_has_at_most_as_many_boxes_as_detections_count():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.95, (5000, 2)) * (150, 200)
    crowded = photo([(x, y, x + 5, y + 5) for x, y in corner])
    assert len(ConstantDetector.fit([crowded]).boxes) == 300


def test_is_right_where_every_photo_is_the_same():
    shelf = photo([(x, y, x + 8, y + 8) for x in range(1, 140, 10) for y in range(1, 190, 10)])
    score = score_detections([shelf.boxes], [ConstantDetector.fit([shelf, shelf]).detect(150, 200)])
    assert score.ap == pytest.approx(1.0)


def test_boxes_beyond_the_border_fall_into_the_outermost_cells():
    detector = ConstantDetector.fit([photo([(140, 190, 170, 230)])])
    assert detector.boxes.shape == (1, 4)


def test_needs_boxes():
    with pytest.raises(DataError, match="none of 1 photos has a product box"):
        ConstantDetector.fit([photo([])])

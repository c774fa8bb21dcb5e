"""What a trained detector finds does not depend on whether photos were decoded whole or reduced."""

import numpy as np
import pytest

from stocktake.images import ReducedPhoto, decode_photo, encode_jpeg
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.examination import Sight
from stocktake.shelf.export import export_model
from stocktake.shelf.void_scoring import VoidSet, score_voids
from stocktake.shelf.weights import starter_path
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf

LARGE = DrawSettings(width=1920, height=2560, landscape=0.0, voids=(6, 9), low_stock=0.0)
PHOTOS = 8
IMG = 416


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return ShelfDetector.load(export_model(starter_path(), tmp_path_factory.mktemp("model"), IMG))


@pytest.fixture(scope="module")
def shelves():
    return [draw_shelf(np.random.default_rng(seed), LARGE) for seed in range(PHOTOS)]


@pytest.fixture(scope="module")
def seen(detector, shelves):
    """Each photo as it is served, and whole."""
    files = [encode_jpeg(shelf.photo, shelf.jpeg_quality) for shelf in shelves]
    served = [detector.decode(data) for data in files]
    whole = [detector.see(ReducedPhoto.of(decode_photo(data))) for data in files]
    assert {photo.photo.reduction for photo in served} == {2}
    return [[Sight.of(detector, decoded) for decoded in ways] for ways in (served, whole)]


def test_average_precision_is_that_of_whole_photos(shelves, seen):
    """Within .015; the whole photo, moved by a pixel, is as far away."""
    served, whole = (
        score_detections([shelf.boxes for shelf in shelves], [sight.candidates() for sight in sights])
        for sights in seen
    )
    assert whole.ap50 > 0.75
    assert served.ap == pytest.approx(whole.ap, abs=0.015)
    assert served.ap50 == pytest.approx(whole.ap50, abs=0.015)


def test_voids_are_those_of_whole_photos(shelves, seen):
    """F1 is at most .05 lower: two of some fifty voids."""
    truth = [VoidSet.of(shelf.voids) for shelf in shelves]
    served, whole = (score_voids([sight.voids() for sight in sights], truth) for sights in seen)
    print(served, whole)
    assert whole.known >= 45
    assert whole.f1 > 0.6
    assert served.f1 >= whole.f1 - 0.05


def test_gaps_look_as_they_do_in_whole_photos(detector, shelves, seen):
    """From the same boxes come the same voids, and confidences that differ by .05 at most, .02 on average."""
    gaps = []
    for served, whole in zip(*seen, strict=True):
        boxes = whole.support()
        one, other = (
            Sight(detector, sight.decoded, whole.proposals).voids_at_any_confidence()
            for sight in (served, whole)
        )
        assert len(one) == len(other), boxes
        gaps += np.abs(np.sort(one.confidence) - np.sort(other.confidence)).tolist()
    print(np.mean(gaps), np.max(gaps), len(gaps))

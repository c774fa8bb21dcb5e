"""What a trained detector finds does not depend on whether photos were decoded whole or reduced."""

import numpy as np
import pytest

from stocktake.images import ReducedPhoto, decode_photo, encode_jpeg
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.examination import Sight
from stocktake.shelf.export import export_model
from stocktake.shelf.void_scoring import VoidSet, void_curve
from stocktake.shelf.weights import starter_path
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf

pytestmark = pytest.mark.long

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
def sights(detector, shelves):
    """What is seen of each photo as it is served, and of the whole photo."""
    files = [encode_jpeg(shelf.photo, shelf.jpeg_quality) for shelf in shelves]
    served = [detector.decode(data) for data in files]
    whole = [detector.see(ReducedPhoto.of(decode_photo(data))) for data in files]
    assert {decoded.photo.reduction for decoded in served} == {2}
    return [[Sight.of(detector, decoded) for decoded in ways] for ways in (served, whole)]


def test_average_precision_is_that_of_whole_photos(shelves, sights):
    """Within .015; a whole photo without its first row and column of pixels is as far away."""
    served, whole = (
        score_detections([shelf.boxes for shelf in shelves], [sight.candidates() for sight in way])
        for way in sights
    )
    assert whole.ap50 > 0.75
    assert served.ap == pytest.approx(whole.ap, abs=0.015)
    assert served.ap50 == pytest.approx(whole.ap50, abs=0.015)


def test_voids_are_those_of_whole_photos(shelves, sights):
    """Best F1 within .04, which is two of some fifty voids."""
    truth = [VoidSet.of(shelf.voids) for shelf in shelves]
    served, whole = (void_curve([sight.voids_at_any_confidence() for sight in way], truth) for way in sights)
    assert sum(len(voids) for voids in truth) >= 45
    assert whole.f1.max() > 0.75
    assert served.f1.max() == pytest.approx(whole.f1.max(), abs=0.04)


def test_gaps_look_as_they_do_in_whole_photos(detector, sights):
    """Between the same boxes: the same gaps, with confidences that differ by .04 on average at most."""
    differences = []
    for served, whole in zip(*sights, strict=True):
        one, other = (
            Sight(detector, sight.decoded, whole.proposals).voids_at_any_confidence()
            for sight in (served, whole)
        )
        assert len(one) == len(other)
        for box, confidence in zip(one.boxes, one.confidence, strict=True):
            place = np.abs(other.boxes - box).max(axis=1).argmin()
            assert other.boxes[place] == pytest.approx(box, abs=1)
            differences.append(abs(confidence - other.confidence[place]))
    assert len(differences) >= 45
    assert np.mean(differences) < 0.04

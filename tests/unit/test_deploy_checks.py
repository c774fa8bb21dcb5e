"""What a candidate is judged by: its answers, and its metrics."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from stocktake.bins.counter import BinReport
from stocktake.cluster.deploy import DeploySettings
from stocktake.cluster.smoke import (
    OTHER_PRECISION,
    SAME_PRECISION,
    check_photos,
    compare_bins,
    compare_shelves,
    smoke_photos,
)
from stocktake.cluster.watching import Limits, Traffic
from stocktake.errors import DataError, SettingsError, StoreError
from stocktake.images import check_photo, encode_jpeg
from stocktake.shelf.detector import ShelfReport
from tests import tiny_counter
from tests.tiny_model import card, draw_photo, write_model_dir

BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
SCORES = np.array([0.9, 0.5], np.float32)
SHELF = ShelfReport(100, 100, BOXES, SCORES, [], 1, 1.0)
CARD = card(score_threshold=0.495)
BIN = BinReport(2, (1, 2, 3), np.array([0.1, 0.8, 0.1], np.float32))


def shelf(boxes=BOXES, scores=SCORES, voids=()):
    return {"boxes": np.asarray(boxes).ravel().tolist(), "scores": list(scores), "void_scores": list(voids)}


@pytest.mark.parametrize(
    ("said", "difference"),
    [
        (shelf(), ""),
        (shelf(BOXES[::-1], SCORES[::-1]), ""),  # of equal products the order is nobody's promise
        (shelf(BOXES + 0.9, SCORES + 0.009), ""),
        (shelf(BOXES + 1.1), "missing"),
        (shelf(BOXES, SCORES + 0.02), "missing"),
        (shelf(BOXES[:1], SCORES[:1]), ""),  # 0.5 is next to the threshold
        (shelf(BOXES[1:], SCORES[1:]), "score 0.900 is missing"),
        (shelf([*BOXES, [50, 50, 60, 60]], [*SCORES, 0.7]), "score 0.700 is too many"),
        (shelf([], []), "missing"),
        (shelf(voids=[0.5]), "1 voids, offline 0"),
    ],
)
def test_shelves_are_compared(said, difference):
    found = compare_shelves(SHELF, said, CARD, SAME_PRECISION)
    assert difference in found
    assert bool(found) == bool(difference)


def test_another_precision_may_be_further_off():
    said = shelf(BOXES + 3, SCORES + 0.03, voids=[0.2])
    assert compare_shelves(SHELF, said, CARD, OTHER_PRECISION) == ""


@pytest.mark.parametrize("scores", [[0.951], [0.951, 0.955]])
def test_products_of_like_scores_are_compared(scores):
    known = ShelfReport(100, 100, BOXES[: len(scores)], np.array(scores, np.float32), [], 1, 1.0)
    assert "is missing" in compare_shelves(known, shelf([], []), CARD, SAME_PRECISION)
    elsewhere = shelf(BOXES[: len(scores)] + 500, scores)
    assert "is missing" in compare_shelves(known, elsewhere, CARD, SAME_PRECISION)
    nothing = ShelfReport(100, 100, BOXES[:0], SCORES[:0], [], 1, 1.0)
    assert "too many" in compare_shelves(nothing, shelf(BOXES[:1], scores[:1]), CARD, SAME_PRECISION)


def test_the_last_place_of_a_full_photo_may_go_to_another():
    full = card(score_threshold=0.25, max_detections=2)
    said = shelf([BOXES[0], BOXES[1] + 50], [0.9, 0.505])
    assert compare_shelves(SHELF, said, full, SAME_PRECISION) == ""
    assert "missing" in compare_shelves(SHELF, said, card(score_threshold=0.25), SAME_PRECISION)


def test_photos_that_a_silent_predictor_would_pass(tmp_path):
    model_dir = write_model_dir(tmp_path / "model")
    empty, full = (encode_jpeg(draw_photo(cells), 90) for cells in ([], [(0, 2), (1, 2)]))
    with pytest.raises(DataError, match=r"finds no product on any of the 2 photos .* with --smoke"):
        check_photos(model_dir, [empty, empty])
    check_photos(model_dir, [empty, full])


def test_photos_of_bins_always_tell(tmp_path):
    check_photos(tiny_counter.write_model_dir(tmp_path / "counter"), [])


@pytest.mark.parametrize(
    ("probabilities", "count", "difference"),
    [
        ([0.1, 0.8, 0.1], 2, ""),
        ([0.105, 0.795, 0.1], 2, ""),
        ([0.2, 0.7, 0.1], 2, "0.100 from the offline one"),
        ([0.1, 0.8, 0.1], 3, "a count of 3, offline 2"),
        ([0.2, 0.8], 2, "2 classes, offline 3"),
    ],
)
def test_bins_are_compared(probabilities, count, difference):
    found = compare_bins(BIN, {"probabilities": probabilities, "count": [count]}, SAME_PRECISION)
    assert difference in found
    assert bool(found) == bool(difference)


@dataclass
class Replica:
    """A replica's metrics, as its client reads them."""

    url: str
    codes: dict = field(default_factory=dict)
    fast: int = 0
    slow: int = 0
    gone: bool = False

    def metrics(self):
        if self.gone:
            raise StoreError("no answer")
        about = {"model": "shelf-detector", "protocol": "rest-v2"}
        for code, count in self.codes.items():
            yield "stocktake_requests_total", {**about, "code": code}, float(count)
        for bound, count in (
            ("0.1", self.fast),
            ("5.0", self.fast + self.slow),
            ("+Inf", self.fast + self.slow),
        ):
            yield "stocktake_request_seconds_bucket", {**about, "le": bound}, float(count)
        yield "stocktake_requests_total", {**about, "model": "another", "code": "500"}, 1000.0


LIMITS = Limits(0.01, 1.0)


def test_only_what_happens_meanwhile_counts():
    replica, traffic = Replica("a", {"200": 500, "500": 500}, fast=500), Traffic("shelf-detector")
    traffic.look([replica])
    assert (traffic.answers, str(traffic)) == (0, "no request came, so there is nothing to judge by")
    replica.codes, replica.fast = {"200": 599, "500": 501}, 599
    late = Replica("b", {"200": 100}, fast=100)
    traffic.look([replica, late])
    assert (traffic.answers, traffic.error_rate, traffic.p99_s) == (200, 0.005, 0.1)
    assert traffic.excess(LIMITS, over=True) == ""
    assert str(traffic) == "200 answers, 0.5% errors, 99 % within 0.1 s"


def test_errors_and_slowness_are_too_many_as_soon_as_there_are_enough_answers():
    replica, traffic = Replica("a"), Traffic("shelf-detector")
    traffic.look([replica])
    replica.codes = {"200": 17, "503": 1, "400": 1}
    traffic.look([replica])
    assert traffic.excess(LIMITS, over=False) == ""
    assert "5.3% of 19 answers were errors" in traffic.excess(LIMITS, over=True)
    replica.codes = {"200": 98, "503": 1, "400": 50}
    replica.fast, replica.slow = 97, 3
    traffic.look([replica])
    assert "99th percentile of 149 answers is over 1 s" in traffic.excess(LIMITS, over=False)


def test_a_replica_that_starts_again_or_goes_away():
    replica, traffic = Replica("a", {"200": 1000}, fast=1000), Traffic("shelf-detector")
    traffic.look([replica])
    replica.codes, replica.fast = {"200": 30}, 30
    traffic.look([replica])
    assert traffic.answers == 30
    replica.gone = True
    traffic.look([replica])
    assert traffic.answers == 30


@pytest.mark.parametrize("task", ["shelf-detector", "bin-counter"])
def test_photos_are_drawn_where_none_are_given(task):
    photos = smoke_photos(None, task)
    assert len(photos) == 2
    assert all(check_photo(photo) for photo in photos)
    assert smoke_photos(None, task) == photos


def test_a_folder_without_photos(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds no photo to test with"):
        smoke_photos(tmp_path, "shelf-detector")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"canary": 0}, "canary is 0"),
        ({"canary": 101}, "canary is 101; it must be a whole number in 1..100 percent"),
        ({"canary": 12.5}, r"canary is 12\.5"),
        ({"max_error_rate": 2}, "max_error_rate is 2; it must be a number in 0..1"),
        ({"max_error_rate": "0.1"}, "max_error_rate is '0.1'"),
        ({"watch_s": -1}, "watch_s is -1"),
        ({"max_p99_s": float("nan")}, "max_p99_s is nan"),
        ({"in_place": "yes"}, "in_place is 'yes'; it must be true or false"),
        ({"token": "secret"}, "a name in deploy_options is 'token'; it must be one of 'canary'"),
    ],
)
def test_impossible_settings(wrong, message):
    with pytest.raises(SettingsError, match=message):
        DeploySettings.of(wrong)


def test_settings_as_kubeflow_hands_them_over():
    settings = DeploySettings.of({"canary": 25.0, "max_p99_s": 1.0, "hold": True}, token="secret")
    assert (settings.canary, settings.max_p99_s, settings.hold) == (25, 1.0, True)
    assert isinstance(settings.canary, int)
    assert "secret" not in repr(settings)

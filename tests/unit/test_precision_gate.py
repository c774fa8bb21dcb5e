import logging
from pathlib import Path

import mlflow
import numpy as np
import pytest

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.precisions import set_precisions as set_counter_precisions
from stocktake.dataset import DatasetIndex
from stocktake.model_card import ModelCard, PrecisionVerdict, verify_sums
from stocktake.precision_gate import judge, open_others, recall
from stocktake.quantisation import LEAST_PHOTOS, add_int8
from stocktake.runtime import precisions_here
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.precisions import set_precisions
from stocktake.shelf.thresholds import set_thresholds
from tests import tiny_counter
from tests.cell_photos import shelf_photos, write_index
from tests.tiny_model import card, write_model_dir

FAST = sorted({"bf16", "int8"} & precisions_here())
FRAGILE = 1000.0  # what few bits make of it is far off


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.shelf.precisions.LEAST_PRODUCTS", 100)
    monkeypatch.setattr("stocktake.shelf.precisions.LEAST_VOIDS", 10)
    monkeypatch.setattr("stocktake.bins.precisions.LEAST_PHOTOS", 30)


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelves")
    photos = shelf_photos(folder, "train", LEAST_PHOTOS) + shelf_photos(folder, "val", 12)
    return write_index(folder, photos)


@pytest.fixture(scope="module")
def bins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fifth of the photos lies near the border between two counts."""
    seen = [(count + 0.1 * (number % 5), count) for number in range(8) for count in (1, 2, 3, 4)]
    folder = tmp_path_factory.mktemp("bins")
    return tiny_counter.write_bins(folder, {"train": seen, "val": seen}, draw=tiny_counter.draw_full_range)


def quantised_detector(folder: Path, index_path: Path, offset: float) -> Path:
    model_dir = write_model_dir(folder / "detector", offset=offset)
    detector = ShelfDetector.load(model_dir, threads=1)
    assert add_int8(model_dir, DatasetIndex.read(index_path), lambda data: detector.decode(data).tensor)
    return model_dir


def quantised_counter(folder: Path, index_path: Path, offset: float) -> Path:
    model_dir = tiny_counter.write_model_dir(folder / "counter", offset=offset)
    counter = BinCounter.load(model_dir, threads=1)
    assert add_int8(model_dir, DatasetIndex.read(index_path), lambda data: counter.decode(data).tensor)
    return model_dir


class TestVerdicts:
    @pytest.mark.parametrize(
        ("ap50", "void_f1", "allowed"),
        [
            (0.9, 0.8, True),
            (0.95, 0.85, True),
            (0.895, 0.795, True),  # what may be lost
            (0.8949, 0.8, False),
            (0.9, 0.7949, False),
            (1.0, 0.5, False),  # a gain makes up for nothing
        ],
    )
    def test_no_score_may_lose_more_than_the_limit(self, ap50: float, void_f1: float, allowed: bool) -> None:
        figures = {"ap50": 0.9, "void_f1": 0.8}, {"ap50": ap50, "void_f1": void_f1}
        verdicts = judge({"fp32": figures[0], "int8": figures[1]}, photos=7)
        assert verdicts["fp32"].allowed
        assert verdicts["int8"].allowed is allowed
        assert verdicts["int8"].scores == figures[1]
        assert verdicts["int8"].photos == 7

    def test_the_reason_has_every_score_and_what_was_lost(self) -> None:
        figures = {"ap50": 0.9, "void_f1": 0.8}
        bf16, int8 = {"ap50": 0.8999, "void_f1": 0.81}, {"ap50": 0.8, "void_f1": 0.7}
        verdicts = judge({"fp32": figures, "bf16": bf16, "int8": int8}, photos=7)
        assert [verdict.reason for verdict in verdicts.values()] == [
            "what the others are compared with",
            "ap50 0.8999 (-0.0001), void_f1 0.8100 (+0.0100): within 0.005 of fp32",
            "ap50 0.8000 (-0.1000), void_f1 0.7000 (-0.1000): more than 0.005 of ap50 and void_f1 is lost",
        ]

    def test_what_another_machine_has_scored_stays(self) -> None:
        scored = PrecisionVerdict(allowed=True, reason="within", scores={"ap50": 0.9}, photos=3)
        unknown = PrecisionVerdict(allowed=False, reason="not scored")
        known = card(precision_gate={"fp16": scored, "bf16": unknown})
        assert recall({"fp16": unknown, "bf16": unknown, "int8": unknown}, known) == {
            "fp16": scored,
            "bf16": unknown,
            "int8": unknown,
        }

    def test_precisions_that_are_not_here(self, tmp_path: Path) -> None:
        model_dir = write_model_dir(tmp_path / "model")
        found, refused = open_others(ShelfDetector.load(model_dir, precision="fp32"))
        precisions = {precision: model.runner.precision for precision, model in found.items()}
        assert precisions == {precision: precision for precision in precisions_here() & {"bf16", "fp16"}}
        assert not any(verdict.allowed for verdict in refused.values())
        assert "model.int8.xml: cannot be loaded" in refused["int8"].reason
        missing = {"bf16", "fp16"} - precisions_here()
        assert all("does not compute in it" in refused[precision].reason for precision in missing)


@pytest.mark.usefixtures("few_are_enough")
class TestShelves:
    def test_a_robust_network_is_served_fast(
        self, tmp_path: Path, shelves: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model_dir = quantised_detector(tmp_path, shelves, offset=0.0)
        with caplog.at_level(logging.INFO, "stocktake"):
            digest = set_thresholds(model_dir, shelves)
        assert digest == verify_sums(model_dir)
        known = ModelCard.read(model_dir)
        assert known.precisions == ["fp32", *FAST]
        for precision in known.precisions:
            verdict = known.precision_gate[precision]
            assert verdict.scores == pytest.approx({"ap50": 1.0, "void_f1": 1.0}, abs=0.005)
            assert verdict.photos == 12
            assert f"{precision} is allowed: {verdict.reason}" in caplog.text
        assert known.reference.keys() == {"brightness", "sharpness", "products", "score"}
        assert {sum(each.counts) for each in known.reference.values()} == {12}
        served = ShelfDetector.load(model_dir)
        assert served.runner.precision == "int8"
        photo = (shelves.parent / "val_1.png").read_bytes()
        exact = ShelfDetector.load(model_dir, precision="fp32")
        assert (served.detect(photo).boxes == exact.detect(photo).boxes).all()

    def test_a_fragile_network_is_not(
        self, tmp_path: Path, shelves: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        model_dir = quantised_detector(tmp_path, shelves, offset=FRAGILE)
        with tracking.start_run("train") as run_id:
            set_precisions(model_dir, shelves, progress=False)
        known = ModelCard.read(model_dir)
        assert known.precisions == ["fp32"]
        for precision in FAST:
            verdict = known.precision_gate[precision]
            assert verdict.scores["ap50"] < 0.9
            assert "more than 0.005 of ap50" in verdict.reason
            assert f"{precision} is forbidden: {verdict.reason}" in caplog.text
        assert ShelfDetector.load(model_dir).runner.precision == "fp32"
        told = mlflow.MlflowClient().get_run(run_id).data.metrics
        assert told["val/int8/ap50"] == pytest.approx(known.precision_gate["int8"].scores["ap50"])
        assert told["val/fp32/void_f1"] == pytest.approx(known.precision_gate["fp32"].scores["void_f1"])

    def test_voids_that_nobody_knows_do_not_count(self, tmp_path: Path) -> None:
        index_path = write_index(tmp_path, shelf_photos(tmp_path, "val", 6, known=False))
        model_dir = write_model_dir(tmp_path / "model", offset=0.0)
        set_precisions(model_dir, index_path, progress=False)
        gate = ModelCard.read(model_dir).precision_gate
        assert gate["fp32"].scores == {"ap50": pytest.approx(1.0)}
        assert not gate["int8"].allowed, "there is no file for it"

    def test_new_thresholds_void_the_verdicts(self, tmp_path: Path) -> None:
        verdict = PrecisionVerdict(allowed=True, reason="within", scores={"ap50": 0.9}, photos=3)
        gate = {"fp16": verdict}
        model_dir = write_model_dir(tmp_path / "model", precisions=["fp32", "fp16"], precision_gate=gate)
        set_thresholds(model_dir, write_index(tmp_path, shelf_photos(tmp_path, "val", 1)))
        known = ModelCard.read(model_dir)
        assert known.precisions == ["fp32"]
        assert known.precision_gate["fp16"].scores == {}


@pytest.mark.usefixtures("few_are_enough")
class TestBins:
    def test_a_robust_network_is_served_fast(self, tmp_path: Path, bins: Path) -> None:
        model_dir = quantised_counter(tmp_path, bins, offset=0.0)
        digest = set_counter_precisions(model_dir, bins, progress=False)
        assert digest == verify_sums(model_dir)
        known = ModelCard.read(model_dir)
        assert known.precisions == ["fp32", *FAST]
        assert known.precision_gate["int8"].scores == {"accuracy": 1.0}
        served = BinCounter.load(model_dir)
        assert served.runner.precision == "int8"
        photo = (bins.parent / "val_002.png").read_bytes()
        exact = BinCounter.load(model_dir, precision="fp32").count(photo)
        np.testing.assert_allclose(served.count(photo).probabilities, exact.probabilities, atol=0.1)

    def test_a_fragile_network_is_not(self, tmp_path: Path, bins: Path) -> None:
        model_dir = quantised_counter(tmp_path, bins, offset=FRAGILE)
        set_counter_precisions(model_dir, bins, progress=False)
        known = ModelCard.read(model_dir)
        assert known.precisions == ["fp32"]
        assert known.precision_gate["fp32"].scores == {"accuracy": 1.0}
        assert known.precision_gate["int8"].scores["accuracy"] < 0.9


def test_too_few_to_tell(tmp_path: Path, shelves: Path, bins: Path) -> None:
    """The files for int8 are not even looked at."""
    detector, counter = write_model_dir(tmp_path / "a"), tiny_counter.write_model_dir(tmp_path / "b")
    set_precisions(detector, shelves)
    set_counter_precisions(counter, bins)
    for model_dir, lack in (
        (detector, "270 products in split val, it takes 1,000"),
        (counter, "32 photos in split val, it takes 200"),
    ):
        known = ModelCard.read(model_dir)
        assert known.precisions == ["fp32"]
        for precision in ("bf16", "fp16", "int8"):
            assert known.precision_gate[precision].reason == f"not scored, too few to tell: {lack}"


def test_too_few_voids_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelves: Path) -> None:
    monkeypatch.setattr("stocktake.shelf.precisions.LEAST_PRODUCTS", 100)
    set_precisions(write_model_dir(tmp_path), shelves)
    lack = "18 known voids in split val, it takes 200"
    assert ModelCard.read(tmp_path).precision_gate["int8"].reason == f"not scored, too few to tell: {lack}"

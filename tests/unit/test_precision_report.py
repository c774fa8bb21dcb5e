"""What evaluations say of precisions: a card that allows too much is found out on other photos."""

import json
import logging
from pathlib import Path

import pytest

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.evaluation import evaluate as evaluate_counter
from stocktake.dataset import DatasetIndex
from stocktake.model_card import PrecisionVerdict
from stocktake.precision_report import PrecisionScores, verdict_rows
from stocktake.quantisation import LEAST_PHOTOS, add_int8
from stocktake.runtime import precisions_here
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.evaluation import evaluate as evaluate_detector
from tests import tiny_counter
from tests.cell_photos import shelf_photos, write_index
from tests.tiny_model import write_model_dir

GATE = {
    "fp32": PrecisionVerdict(allowed=True, reason="what the others are compared with", scores={"ap50": 0.9}),
    "int8": PrecisionVerdict(allowed=True, reason="was fine on val photos", scores={"ap50": 0.9}, photos=200),
}
FRAGILE = 1000.0


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelves")
    photos = shelf_photos(folder, "train", LEAST_PHOTOS) + shelf_photos(folder, "test", 4)
    return write_index(folder, photos)


def detector_dir(folder: Path, index_path: Path, offset: float) -> Path:
    model_dir = write_model_dir(folder, offset=offset, precisions=["fp32", "int8"], precision_gate=GATE)
    detector = ShelfDetector.load(model_dir, threads=1, precision="fp32")
    assert add_int8(model_dir, DatasetIndex.read(index_path), lambda data: detector.decode(data).tensor)
    return model_dir


def test_what_is_allowed_stands_beside_fp32(shelves: Path, tmp_path: Path) -> None:
    model_dir = detector_dir(tmp_path / "model", shelves, offset=0.0)
    assert ShelfDetector.load(model_dir).runner.precision == "int8"
    result = evaluate_detector(model_dir, shelves, tmp_path / "out", progress=False)
    assert result.facts["Engine"] == "openvino, cpu, fp32"
    assert result.metrics["int8/ap50"] == pytest.approx(result.metrics["detector/ap50"], abs=0.005)
    assert result.metrics["int8/void_f1"] == pytest.approx(result.metrics["voids/f1_iou30"], abs=0.005)
    assert not {name for name in result.metrics if name.startswith(("fp32/", "bf16/", "int8/detector"))}
    for page in (result.report, result.summary):
        text = page.read_text("utf-8")
        assert "within 0.005 of fp32" in text
        assert "was fine on val photos" in text
        assert "too much is lost here" not in text


def test_a_detector_that_loses_too_much_is_found_out(
    shelves: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model_dir = detector_dir(tmp_path / "model", shelves, offset=FRAGILE)
    result = evaluate_detector(model_dir, shelves, tmp_path / "out", progress=False)
    assert result.metrics["detector/ap50"] == pytest.approx(1.0)
    assert result.metrics["int8/ap50"] < 0.9
    warning = "int8 may be served, but too much is lost here: ap50 "
    assert warning in caplog.text
    assert all(warning in page.read_text("utf-8") for page in (result.report, result.summary))


def test_a_counter_that_loses_too_much_is_found_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    seen = [(count, count) for count in (1, 2, 3, 4)] * 8
    draw = tiny_counter.draw_full_range
    index_path = tiny_counter.write_bins(tmp_path / "bins", {"train": seen, "test": seen[:8]}, draw=draw)
    model_dir = tiny_counter.write_model_dir(
        tmp_path / "model", offset=FRAGILE, precisions=["fp32", "int8"], precision_gate=GATE
    )
    counter = BinCounter.load(model_dir, threads=1, precision="fp32")
    assert add_int8(model_dir, DatasetIndex.read(index_path), lambda data: counter.decode(data).tensor)
    with tracking.start_run("evaluate") as run_id:
        result = evaluate_counter(model_dir, index_path, tmp_path / "out", progress=False)
    assert result.metrics["count/accuracy"] == 1.0
    assert result.metrics["int8/accuracy"] < 0.9
    warning = "int8 may be served, but too much is lost here: accuracy "
    assert warning in caplog.text
    assert all(warning in page.read_text("utf-8") for page in (result.report, result.summary))
    import mlflow

    assert (
        mlflow.MlflowClient().get_run(run_id).data.metrics["int8/accuracy"] == result.metrics["int8/accuracy"]
    )
    shown = mlflow.artifacts.load_text(f"runs:/{run_id}/tables/precisions.json")
    assert [row[0] for row in json.loads(shown)["data"]] == ["fp32", "int8"]


def test_what_this_machine_cannot_score_is_said(
    shelves: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if "fp16" in precisions_here():
        pytest.skip("this machine has a GPU with TensorRT")
    model_dir = write_model_dir(tmp_path / "model", precisions=["fp32", "fp16"])
    with caplog.at_level(logging.WARNING, "stocktake"):
        result = evaluate_detector(model_dir, shelves, tmp_path / "out", progress=False)
    assert "fp16 may be served, but was not scored: " in caplog.text
    assert "fp16/ap50" not in result.metrics


def test_rows_have_all_scores_and_dashes_where_there_are_none() -> None:
    verdicts = {
        "fp32": PrecisionVerdict(allowed=True, reason="a", scores={"ap50": 0.9, "void_f1": 0.8}, photos=3),
        "int8": PrecisionVerdict(allowed=False, reason="b"),
    }
    assert verdict_rows(verdicts) == [
        {"precision": "fp32", "ap50": 0.9, "void_f1": 0.8, "photos": 3, "allowed": "yes", "why": "a"},
        {"precision": "int8", "ap50": None, "void_f1": None, "photos": None, "allowed": "no", "why": "b"},
    ]
    assert PrecisionScores().markdown() == PrecisionScores().warnings() == []

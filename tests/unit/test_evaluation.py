import json
import re
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, ModelError
from stocktake.evaluation_files import EvaluationResult, describe_exclusions
from stocktake.files import sha256_file
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.evaluation import evaluate
from tests.cell_photos import CELL, LEFT_OUT, SIDE, add_photo, shelf_photos, write_index
from tests.tiny_model import write_model_dir


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_dir(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def evaluated(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    folder = tmp_path_factory.mktemp("data")
    photos = shelf_photos(folder, "train", 2) + shelf_photos(folder, "test", 6)
    return evaluate(model_dir, write_index(folder, photos), folder / "out", before=model_dir, progress=False)


def test_a_detector_that_finds_everything_scores_one(evaluated: EvaluationResult):
    metrics = evaluated.metrics
    for name in ("ap", "ap50", "ap75", "ar300", "f1"):
        assert metrics[f"detector/{name}"] == pytest.approx(1.0), name
    assert metrics["before/detector/ap"] == metrics["detector/ap"]
    assert metrics["data/photos"] == 6


def test_voids_are_scored_as_they_are_served(evaluated: EvaluationResult, model_dir: Path, tmp_path: Path):
    """What `detect` returns for each file, matched by hand: a void counts where it covers a missing cell."""
    detector, hits, found, known = ShelfDetector.load(model_dir), 0, 0, 0
    for photo in shelf_photos(tmp_path, "test", 6):
        voids = detector.detect((tmp_path / photo.name).read_bytes()).voids
        centres = {tuple(int(v) for v in np.array(void.box).reshape(2, 2).mean(0) // CELL) for void in voids}
        missing = {(int(t.box[0] // CELL), int(t.box[1] // CELL)) for t in photo.voids}
        hits, found, known = hits + len(centres & missing), found + len(voids), known + len(missing)
    assert hits > 0
    assert evaluated.metrics["voids/recall_iou30"] == pytest.approx(hits / known)
    assert evaluated.metrics["voids/precision_iou30"] == pytest.approx(hits / found)
    assert evaluated.metrics["voids/false_per_photo"] == pytest.approx((found - hits) / 6)
    assert evaluated.metrics["before/voids/f1_iou30"] == evaluated.metrics["voids/f1_iou30"]


def test_the_sliding_box_heuristic_stands_beside_us_in_every_scene(evaluated: EvaluationResult):
    ours = {name for name in evaluated.metrics if name.startswith("voids")}
    scenes = {name.split("/")[0] for name in ours}
    assert scenes == {
        "voids", "voids_true_boxes", "voids_holdout", "voids_missing",
        "voids_tilt", "voids_tilt_true_boxes", "voids_tilt_holdout",
    }  # fmt: skip
    undefined_without_hits = "facing_error"
    assert not {
        n for n in ours if f"sliding_box/{n}" not in evaluated.metrics and undefined_without_hits not in n
    }


def test_baselines_that_do_not_look_score_below_one(evaluated: EvaluationResult):
    assert 0 < evaluated.metrics["constant/detector/ap50"] < 1


def test_metrics_are_safe_for_mlflow_and_json(evaluated: EvaluationResult):
    stored = json.loads(evaluated.report.with_name("metrics.json").read_text())
    assert stored == evaluated.metrics
    assert all(re.fullmatch(r"[\w\-. :/]+", name) for name in stored)
    assert all(isinstance(value, float) and np.isfinite(value) for value in stored.values())


def test_reports_say_on_what_data_and_show_photos(evaluated: EvaluationResult):
    for text in (evaluated.report.read_text("utf-8"), evaluated.summary.read_text("utf-8")):
        for fact in (
            "cells",
            "test",
            "strict, 3 left out (excluded 1, wrong size 2)",
            "128 px",
            "300 boxes per photo",
            "sliding-box heuristic",
        ):
            assert fact in text
        assert str(evaluated.facts["Data digest"]) in text
    assert evaluated.report.read_text("utf-8").count("data:image/") == 4 + 3
    assert {p.name for p in (evaluated.report.parent / "photos").iterdir()} == {
        "best.jpg",
        "typical.jpg",
        "worst.jpg",
    }
    facts = json.loads(evaluated.report.with_name("facts.json").read_text())
    assert facts["Left out"] == LEFT_OUT


def test_figures_of_val_photos_say_that_thresholds_were_chosen_on_them(
    evaluated: EvaluationResult, model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    index = write_index(tmp_path, shelf_photos(tmp_path, "val", 2))
    result = evaluate(model_dir, index, tmp_path / "out", "val", progress=False)
    warning = "Thresholds were chosen on these photos"
    assert warning in caplog.text
    for name in ("report.html", "summary.md", "facts.json"):
        assert warning in (tmp_path / "out" / name).read_text("utf-8")
        assert warning not in (evaluated.report.parent / name).read_text("utf-8")
    assert json.loads((tmp_path / "out" / "facts.json").read_text("utf-8")) == result.facts


def test_the_same_photos_give_the_same_metrics(evaluated: EvaluationResult, model_dir: Path, tmp_path: Path):
    photos = shelf_photos(tmp_path, "test", 6) + shelf_photos(tmp_path, "train", 2)
    again = evaluate(
        model_dir, write_index(tmp_path, photos[::-1]), tmp_path / "out", workers=1, progress=False
    )
    assert again.metrics == {n: v for n, v in evaluated.metrics.items() if not n.startswith("before/")}


def test_an_open_run_gets_all_of_it(
    tracked: Path, model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    index_path = write_index(tmp_path, shelf_photos(tmp_path, "test", 2))
    with tracking.start_run("evaluate") as run_id:
        result = evaluate(model_dir, index_path, tmp_path / "out", progress=False)
    assert "MLflow" not in caplog.text  # it took everything
    run = mlflow.get_run(run_id)
    assert run.data.metrics == pytest.approx(result.metrics)
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == DatasetIndex.read(index_path).digest[:36]
    names = {
        item.path
        for folder in (None, "plots", "tables", "photos")
        for item in mlflow.MlflowClient().list_artifacts(run_id, folder)
        if not item.is_dir
    }
    assert {
        "report.html",
        "plots/detection.png",
        "plots/voids.png",
        "tables/products.json",
        "tables/voids.json",
        "photos/best.png",
        "photos/worst.png",
    } <= names


def test_an_index_that_does_not_say_what_was_left_out_is_not_taken_to_be_whole():
    assert describe_exclusions(DatasetIndex([], "")) == "none, not known how many were left out"
    assert describe_exclusions(DatasetIndex([], "", {"left_out": {}})) == "none, 0 left out"


def test_photos_without_known_voids_are_judged_by_hold_out(model_dir: Path, tmp_path: Path):
    index = write_index(tmp_path, shelf_photos(tmp_path, "test", 3, known=False))
    result = evaluate(model_dir, index, tmp_path / "out", progress=False)
    assert "voids/f1_iou30" not in result.metrics
    assert result.metrics["voids_holdout/f1_iou30"] > result.metrics["sliding_box/voids_holdout/f1_iou30"]
    assert result.facts["Known voids"] == "not known"
    assert result.facts["Constant boxes fitted on"] == "test split"


def test_one_photo_and_a_photo_without_boxes(model_dir: Path, tmp_path: Path):
    photos = shelf_photos(tmp_path, "test", 2)[1:]
    bare = add_photo(
        tmp_path, "bare.png", np.zeros((SIDE, 96, 3), np.uint8), np.zeros((0, 4), np.float32), "test", ()
    )
    alone = evaluate(model_dir, write_index(tmp_path, photos), tmp_path / "one", progress=False)
    both = evaluate(model_dir, write_index(tmp_path, [*photos, bare]), tmp_path / "two", progress=False)
    assert alone.metrics["detector/ap"] == both.metrics["detector/ap"] == pytest.approx(1.0)
    assert both.metrics["data/photos"] == 2


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_empty_split_is_refused_before_the_work(model_dir: Path, tmp_path: Path, split: str):
    index = write_index(tmp_path, shelf_photos(tmp_path, "train", 1))
    with pytest.raises(DataError, match=rf"no photo in split {split} \(train 1, val 0, test 0\)"):
        evaluate(model_dir, index, tmp_path / "out", split=split)


def test_what_cannot_be_scored_is_refused(model_dir: Path, tmp_path: Path):
    (photo,) = shelf_photos(tmp_path, "test", 1)
    without = replace(photo, boxes=np.zeros((0, 4), np.float32))
    with pytest.raises(DataError, match="none of 1 photos in split test has a product box"):
        evaluate(model_dir, write_index(tmp_path, [without]), tmp_path / "out")
    with pytest.raises(DataError, match=r"test_0\.png has 128x128 px, the index says 128x64"):
        evaluate(
            model_dir, write_index(tmp_path, [replace(photo, height=64)]), tmp_path / "out", progress=False
        )
    with pytest.raises(DataError, match="unknown split 'tests'"):
        evaluate(model_dir, write_index(tmp_path, [photo]), tmp_path / "out", split="tests")


def test_a_model_for_another_task_is_refused(tmp_path: Path):
    index = write_index(tmp_path, shelf_photos(tmp_path, "test", 1))
    counter = write_model_dir(tmp_path / "bins", task="bin-counter")
    with pytest.raises(ModelError, match="task is bin-counter, not shelf-detector"):
        evaluate(counter, index, tmp_path / "out")


def test_an_unwritable_folder_is_refused_before_the_work(model_dir: Path, tmp_path: Path):
    index = write_index(tmp_path, shelf_photos(tmp_path, "test", 1))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="out"):
        evaluate(model_dir, index, tmp_path / "out")


def test_a_photo_that_is_no_photo_is_named(model_dir: Path, tmp_path: Path):
    (photo,) = shelf_photos(tmp_path, "test", 1)
    (tmp_path / photo.name).write_bytes(b"no photo")
    broken = replace(photo, length=8, sha256=sha256_file(tmp_path / photo.name))
    with pytest.raises(DataError, match=r"test_0\.png: .*ingest again"):
        evaluate(model_dir, write_index(tmp_path, [broken]), tmp_path / "out", progress=False)

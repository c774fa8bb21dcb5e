"""From an evaluation's files into the registry."""

import json

import cv2
import mlflow
import numpy as np
import pytest

from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.files import sha256_file
from stocktake.promotion import promote
from stocktake.shelf.evaluation import evaluate
from tests.tiny_model import write_model_dir


@pytest.fixture
def scored(tmp_path, tracked, monkeypatch):
    """A model dir, an index of one photo with a product in the middle, and the evaluation."""
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[48:64, 48:64] = 255
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels)
    boxes = np.array([[48, 48, 64, 64]], np.float32)
    photo = Photo("a", "a.png", path.stat().st_size, sha256_file(path), 128, 128, "test", "a", boxes)
    index = tmp_path / "index.parquet"
    DatasetIndex([photo], str(tmp_path), {"name": "one"}).write(index)
    model = write_model_dir(tmp_path / "model")
    evaluate(model, index, tmp_path / "evaluation", progress=False)
    return model, index, tmp_path / "evaluation"


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def evaluations():
    named = "run_name LIKE 'evaluate %'"
    return mlflow.search_runs(search_all_experiments=True, filter_string=named, output_format="list")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


VOIDS = {
    "voids_holdout/f1_iou30": 0.5,
    "sliding_box/voids_holdout/f1_iou30": 0.1,
}  # one product makes no void


def test_figures_of_this_code_are_not_made_again(scored):
    rewrite(scored[2] / "metrics.json", **VOIDS, **{"detector/ap50": 0.75, "constant/detector/ap50": 0.5})
    decision = promote(*scored)
    assert decision.promoted
    assert "detector/ap50 0.7500 against 0.5000" in decision.reason
    assert not mlflow.search_runs(
        search_all_experiments=True, filter_string="run_name LIKE 'evaluate %'"
    ).size


def test_figures_of_other_code_are_made_again(scored):
    rewrite(scored[2] / "facts.json", Code="0.0.1-older")
    rewrite(scored[2] / "metrics.json", **{"detector/ap50": 0.75})
    before = files_of(scored[2])
    decision = promote(*scored)
    assert {row.metric: row.challenger for row in decision.comparison.rows}["detector/ap50"] == 1.0
    (run,) = evaluations()
    kept = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert "report.html" in kept
    assert files_of(scored[2]) == before


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"detector/ap50": "high"}'])
def test_broken_figures_are_named(scored, content):
    (scored[2] / "metrics.json").write_text(content)
    with pytest.raises(DataError, match=r"metrics\.json: .*evaluate again"):
        promote(*scored)


def test_an_evaluation_of_another_split_is_refused(scored):
    with pytest.raises(DataError, match="scored on test photos, not on val photos"):
        promote(*scored, split="val")


def test_a_folder_without_an_evaluation_is_named(scored, tmp_path):
    with pytest.raises(DataError, match=r"metrics\.json"):
        promote(*scored[:2], tmp_path)

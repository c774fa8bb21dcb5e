"""The whole pipeline on this machine, started from a folder where the repository cannot be seen."""

import json
from pathlib import Path

import pytest

from stocktake.dataset import DatasetIndex
from stocktake.model_card import ModelCard, verify_sums
from tests.pipeline_runs import PARAMS, Finished, run

SMOKE = PARAMS / "smoke.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, drawn_photos) -> Finished:
    folder = tmp_path_factory.mktemp("run")
    (folder / "my photos").symlink_to(drawn_photos)
    given = ("--param", "source=my photos", "--param", "img=64", "--param", "pods=2")
    result = run(folder, "shelf_detector", "--params", str(SMOKE), *given)
    assert result.process.returncode == 0, result.process.stderr
    return result


def test_every_task_is_done_and_has_its_log(finished):
    tasks = finished.record["tasks"]
    assert [task["name"].rpartition("/")[2].split("-")[0] for task in tasks] == [
        "plan",
        "ingest",
        "ingest",
        "merge",
        "prepare",
        "train",
        "evaluate",
        "promote",
    ]
    assert {task["status"] for task in tasks} == {"done"}
    assert all(Path(task["log"]).stat().st_size for task in tasks)


def test_progress_is_told_by_task_and_kfp_is_quiet(finished):
    lines = finished.process.stderr.splitlines()
    assert "[1/7] plan-shelves: started" in lines
    for part in (0, 1):
        assert any(line.endswith(f"iteration-{part}/ingest-shelves: started") for line in lines)
    assert any(line.startswith("[8/8] promote-model: done in ") for line in lines)
    assert "executor_input" not in finished.process.stdout + finished.process.stderr


def test_the_outputs_are_in_the_run_folder(finished):
    index = DatasetIndex.read(finished.out / "index.parquet")
    assert {split: len(index.split(split)) for split in ("train", "val", "test")} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }
    digest = verify_sums(finished.out / "model")
    card = ModelCard.read(finished.out / "model")
    assert (card.input_size, card.dataset_digest) == (64, index.digest)
    assert "<html" in (finished.out / "report.html").read_text()
    assert (finished.out / "card.md").read_text().startswith("# ")
    metrics = json.loads((finished.out / "metrics.json").read_text())
    assert 0 <= metrics["detector/ap50"] <= 1
    assert metrics == json.loads((finished.out / "evaluation/metrics.json").read_text()) | metrics
    assert Path(finished.record["outputs"]["model_uri"]).name == digest
    assert verify_sums(Path(finished.record["outputs"]["model_uri"])) == digest


def test_store_cache_and_mlflow_are_below_runs_where_it_was_started(finished):
    assert (finished.folder / "runs/mlflow.db").exists()
    assert list((finished.folder / "runs/cache").iterdir())
    assert list((finished.folder / "runs/store/models/shelf-detector").iterdir())


def test_one_mlflow_run_holds_the_parameters_epochs_and_figures(finished):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{finished.folder}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("shelf-detector")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == finished.returned["train"]["run_id"]
    assert found.info.status == "FINISHED"
    assert found.data.params["train.img"] == "64"
    assert len(client.get_metric_history(found.info.run_id, "train/box_loss")) == 1
    assert "detector/ap50" in found.data.metrics
    assert "voids/f1_iou30" in found.data.metrics
    version = client.get_model_version_by_alias("shelf-detector", "challenger")
    assert version.run_id == found.info.run_id


def test_the_decision_has_a_reason(finished):
    outputs = finished.record["outputs"]
    assert isinstance(outputs["promoted"], bool)
    assert "on 2 photos" in outputs["reason"]


def test_nothing_is_left_of_the_training_but_its_model(finished):
    assert list((finished.out / "work").iterdir()) == []


def test_a_wrong_folder_is_named_with_its_cause_and_log(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path, "shelf_detector", "--params", str(SMOKE), "--param", "source=empty")
    assert result.process.returncode == 1
    error = result.process.stderr
    assert f"{tmp_path}/empty: empty; expected the folders" in error
    assert str(result.out / "logs/plan-shelves.log") in error
    assert "Traceback" not in error
    assert "Traceback" in (result.out / "logs/plan-shelves.log").read_text()

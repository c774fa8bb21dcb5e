import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import mlflow
import numpy as np
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import SettingsError
from stocktake.mlflow_server import clean_name, configure


def run_of(run_id):
    return mlflow.MlflowClient().get_run(run_id)


def epochs(run_id, metric):
    return [(m.step, m.value) for m in mlflow.MlflowClient().get_metric_history(run_id, metric)]


def logged(run_id, path):
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))


@pytest.fixture
def index():
    photo = Photo("a.jpg", "a.jpg", 1, "0" * 64, 10, 10, "test", "a", np.zeros((2, 4), np.float32))
    return DatasetIndex([photo], "s3://bucket/drawn", {"name": "drawn"})


def test_a_relative_sqlite_path_becomes_absolute_and_is_inherited(tmp_path, monkeypatch, database):
    monkeypatch.chdir(database.parent)
    assert configure(f"sqlite:///{database.name}") == f"sqlite:///{database}"
    assert configure() == f"sqlite:///{database}"


def test_processes_that_start_together_make_one_database(tmp_path):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/new/mlflow.db"}
    environment.pop("MLFLOW_RUN_ID", None)
    code = "from stocktake import tracking\nwith tracking.start_run('trial', experiment='search'): pass"
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    client = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"])
    assert len(client.search_runs([client.get_experiment_by_name("search").experiment_id])) == 2


def test_run_is_logged_whole(tracked, index):
    with tracking.start_run("train", tags={"purpose": "test"}) as run_id:
        tracking.log_params({"lr": 0.01, "aug": {"hsv(h)": 0.5}}, "train")
        tracking.log_metrics({"metrics/mAP50(B)": np.float32(0.25), "mAP@0.5": 1}, step=3)
        tracking.log_dataset(index, "training")
        tracking.log_html("<p>fine</p>", "report.html")
        tracking.log_figure(matplotlib.figure.Figure(), "plots/pr.png")
        tracking.log_image(np.zeros((4, 4, 3), np.uint8), "photos/first.png")
        tracking.log_image(np.zeros((4, 4, 3), np.uint8), "val photo", step=3)
    run = run_of(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.lr": "0.01", "train.aug.hsv_h": "0.5"}
    assert run.data.metrics == {"metrics/mAP50_B": 0.25, "mAP_0.5": 1.0}
    assert epochs(run_id, "mAP_0.5") == [(3, 1.0)]
    assert run.data.tags["purpose"] == "test"
    assert run.data.tags["dataset.training.digest"] == index.digest
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("drawn", index.digest[:36])
    assert json.loads(dataset.dataset.profile) == {"photos": 1, "products": 2}
    assert logged(run_id, "report.html").read_text() == "<p>fine</p>"
    assert logged(run_id, "plots/pr.png").stat().st_size > 0
    assert logged(run_id, "photos/first.png").stat().st_size > 0


def test_artifacts_lie_beside_the_database(tracked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("a")
    with tracking.start_run("train") as run_id:
        tracking.log_artifacts(tmp_path / "out", "results")
        tracking.log_artifacts(tmp_path / "out" / "a.txt")
    artifacts = Path(run_of(run_id).info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(tracked.parent / "mlartifacts")
    assert (artifacts / "results" / "a.txt").read_text() == (artifacts / "a.txt").read_text() == "a"
    assert not (tmp_path / "mlruns").exists()


def test_a_table_logged_again_is_replaced(tracked):
    with tracking.start_run("evaluate", experiment="tables") as run_id:
        tracking.log_table([{"split": "test", "f1": 0.1}, {"split": "val", "f1": 0.2}], "tables/voids.json")
        tracking.log_table([{"split": "test", "f1": 0.25}], "tables/voids.json")
    client = mlflow.MlflowClient()
    table = client.load_table(run_of(run_id).info.experiment_id, "tables/voids.json")
    assert table.to_dict("records") == [{"split": "test", "f1": 0.25}]


def test_run_of_the_pipeline_is_resumed(tracked, monkeypatch):
    with tracking.start_run("outer", experiment="pipeline") as run_id:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with tracking.start_run("step", experiment="another") as resumed:
        tracking.log_metrics({"loss": 1.0})
    run = run_of(run_id)
    assert resumed == run_id
    assert (run.info.run_name, run.data.metrics["loss"]) == ("outer", 1.0)


def test_an_earlier_step_s_run_goes_before_the_environment_s(tracked, monkeypatch):
    with tracking.start_run("train") as trained, tracking.start_run("task") as task:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", task)
    with tracking.start_run("evaluate", run_id=trained) as outer, tracking.start_run("inner") as inner:
        pass
    assert outer == trained
    assert inner not in (trained, task)
    assert run_of(inner).data.tags["mlflow.parentRunId"] == trained


def test_nested_runs_know_their_parents(tracked, monkeypatch):
    with tracking.start_run("search", experiment="search") as parent:
        with tracking.start_run("trial", experiment="search") as inner:
            assert tracking.current_run() == inner
        assert tracking.current_run() == parent
    assert tracking.current_run() is None
    monkeypatch.setenv("MLFLOW_PARENT_RUN_ID", parent)
    with tracking.start_run("trial in a pod") as outer:
        pass
    assert run_of(inner).data.tags["mlflow.parentRunId"] == parent
    assert run_of(outer).data.tags["mlflow.parentRunId"] == parent
    assert run_of(outer).info.experiment_id == run_of(parent).info.experiment_id


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (ValueError("no photos"), "FAILED", "error"),
        (KeyboardInterrupt(), "KILLED", "error"),
        (tracking.RunStopped("worse than the others"), "KILLED", "stopped"),
    ],
)
def test_a_run_ends_as_its_work_did(tracked, error, status, tag):
    with pytest.raises(type(error)), tracking.start_run("train") as run_id:
        raise error
    assert run_of(run_id).info.status == status
    assert run_of(run_id).data.tags[tag].startswith(type(error).__name__)


def test_without_a_run_nothing_is_logged(tracked, index):
    runs = mlflow.search_runs(search_all_experiments=True)
    tracking.log_metrics({"loss": 1.0}, step=1)
    tracking.log_params({"lr": 1}, "train")
    tracking.log_dataset(index, "training")
    assert len(mlflow.search_runs(search_all_experiments=True)) == len(runs)


def test_a_refusal_costs_one_warning_and_no_work(tracked, caplog):
    with caplog.at_level(logging.WARNING, "stocktake"), tracking.start_run("train") as run_id:
        tracking.log_params({"lr": 1}, "train")
        tracking.log_params({"lr": 2}, "train")  # MLflow's parameters can't change
        tracking.log_params({"lr": 3}, "train")
        tracking.log_metrics({"loss": 1.0})
    assert run_of(run_id).info.status == "FINISHED"
    assert run_of(run_id).data.metrics == {"loss": 1.0}
    assert len([record for record in caplog.records if "did not take" in record.message]) == 1
    assert "failed 2 times" in caplog.text


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "no MLflow that can be used"),
        ("ftp://somewhere", "no MLflow that can be used"),
        ("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere"),
        ("runs/mlruns", "sqlite:///runs/mlflow.db"),
    ],
)
def test_a_wrong_server_is_an_error_at_the_start(tracked, monkeypatch, tmp_path, uri, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=message) as caught, tracking.start_run("train", uri=uri):
        pytest.fail("the run was opened")
    assert uri in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "named"), [("MLFLOW_RUN_ID", "run"), ("MLFLOW_PARENT_RUN_ID", "MLFLOW_PARENT_RUN_ID")]
)
def test_an_unknown_run_is_an_error_at_the_start(tracked, monkeypatch, variable, named):
    monkeypatch.setenv(variable, "0" * 32)
    with pytest.raises(SettingsError, match=rf"{named} 0{{32}}: .*not found"), tracking.start_run("train"):
        pytest.fail("the run was opened")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("metrics/mAP50(B)", "metrics/mAP50_B"),
        ("mAP@0.5", "mAP_0.5"),
        ("/train//loss/", "train/loss"),
        ("a/../b", "a/b"),
        ("***", "unnamed"),
    ],
)
def test_names_are_made_to_fit(name, clean):
    assert clean_name(name) == clean

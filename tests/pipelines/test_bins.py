"""The search of a bin counter as a pipeline on this machine; its training is that of the plain pipeline."""

import json
from pathlib import Path

import pytest

from stocktake.dataset import DatasetIndex
from stocktake.model_card import ModelCard, verify_sums
from tests.pipeline_runs import PARAMS, Finished, run

pytestmark = pytest.mark.long

SMOKE = ("--params", str(PARAMS / "bins_smoke.yaml"), "--param", "source=my bins")
SPACE = """
metric: val/accuracy
goal: maximize
trials: 2
parameters:
  lr: {low: 0.001, high: 0.01, log: true}
  batch_size: {choices: [4, 16]}
refit: {patience: 3}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory, drawn_bins) -> Finished:
    folder = tmp_path_factory.mktemp("run")
    (folder / "my bins").symlink_to(drawn_bins)
    (folder / "space.yaml").write_text(SPACE)
    result = run(folder, "bin_search", *SMOKE, "--param", "space=space.yaml", "--param", "pods=2")
    assert result.process.returncode == 0, result.process.stderr
    return result


@pytest.fixture(scope="module")
def client(searched):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{searched.folder}/runs/mlflow.db")


def test_every_step_is_done(searched):
    names = [task["name"].rpartition("/")[2].split("-")[0] for task in searched.record["tasks"]]
    assert names == ["plan", "ingest", "ingest", "merge", "prepare", "search", "train", "evaluate", "promote"]
    assert {task["status"] for task in searched.record["tasks"]} == {"done"}


def test_the_best_settings_train_the_model(searched, client):
    best = searched.returned["search"]["best"]
    params = client.get_run(searched.returned["train"]["run_id"]).data.params
    assert float(params["train.lr"]) == pytest.approx(best["lr"])
    assert int(params["train.batch_size"]) == best["batch_size"]
    assert 0.001 <= best["lr"] <= 0.01
    assert best["batch_size"] in (4, 16)
    assert (params["train.img"], params["train.patience"]) == ("32", "3")


def test_the_search_is_shown(searched, client):
    assert (searched.out / "trials.md").read_text().startswith("# Search: 2 trials")
    assert "<html" in (searched.out / "search.html").read_text()
    search = client.get_run(searched.returned["search"]["run_id"])
    below = client.search_runs(
        [search.info.experiment_id], f"tags.`mlflow.parentRunId` = '{search.info.run_id}'"
    )
    assert sorted(run.info.run_name for run in below) == ["trial-000", "trial-001"]


def test_the_rules_are_shown(searched, client):
    summary = searched.record["outputs"]["rule_summary"].splitlines()
    assert len(summary) == 7
    assert "LowGPUUtilization: NotEvaluated (the training runs on the CPU)" in summary
    assert "PoorWeightInitialization" in (searched.out / "rules.html").read_text()
    run_id = searched.returned["train"]["run_id"]
    assert "report.html" in [path.path.rpartition("/")[2] for path in client.list_artifacts(run_id, "rules")]


def test_the_outputs_are_in_the_run_folder(searched):
    index = DatasetIndex.read(searched.out / "index.parquet")
    assert all(index.split(split) for split in ("train", "val", "test"))
    digest = verify_sums(searched.out / "model")
    card = ModelCard.read(searched.out / "model")
    assert (card.task, card.input_size, card.dataset_digest) == ("bin-counter", 32, index.digest)
    assert "<html" in (searched.out / "report.html").read_text()
    metrics = json.loads((searched.out / "metrics.json").read_text())
    assert 0 <= metrics["count/accuracy"] <= 1
    assert metrics["data/photos"] == len(index.split("test"))
    uri = Path(searched.record["outputs"]["model_uri"])
    assert uri.name == digest == verify_sums(uri)


def test_the_model_went_to_the_gate(searched, client):
    assert "version 1" in searched.record["outputs"]["reason"]
    version = client.get_model_version_by_alias("bin-counter", "challenger")
    assert version.run_id == searched.returned["train"]["run_id"]


def test_one_run_of_mlflow_holds_a_training(searched, client):
    found = client.get_run(searched.returned["train"]["run_id"])
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(found.info.run_id, "train/loss")) == 1
    assert {"count/accuracy", "verification/right_accepted_at_error"} <= found.data.metrics.keys()
    assert found.data.tags["rule.LossNotDecreasing"] == "InsufficientData"

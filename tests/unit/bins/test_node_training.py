"""Two nodes train one counter with gloo, as pods of a TrainJob do, and go on from the store."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import train
from stocktake.model_card import verify_sums
from stocktake.node_training import Order, be_node, find_result, place_order
from tests.ports import free_port
from tests.tiny_counter_training import write_index

pytestmark = pytest.mark.long

SETTINGS = BinTrainSettings(weights="none", img=32, epochs=2, batch_size=8, device="cpu", name="train")


class Lost(Exception):
    """What a node that goes away looks like from within."""


def start_node(key: str, number: int, port: int, folder: Path) -> subprocess.Popen:
    """A pod of the job: the variables are those that Kubeflow Trainer sets."""
    variables = {
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_NODE_RANK": str(number),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
        "STOCKTAKE_WORK_DIR": str(folder / f"node{number}"),
    }
    with (folder / f"node{number}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "stocktake.node_training", key],
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database):
    """A training that was lost in its second epoch and taken up by two nodes."""
    folder = tmp_path_factory.mktemp("nodes")
    index_path = write_index(folder / "bins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}")
        patch.setenv("STOCKTAKE_STORE", str(folder / "store"))
        patch.setenv("STOCKTAKE_CACHE", str(folder / "cache"))
        patch.setenv("STOCKTAKE_CHECKPOINT_MINUTES", "1000")
        key = place_order(index_path, Order(SETTINGS, None, {"dataset": "drawn"}))

        def lose(_metrics: dict[str, float], epoch: int) -> None:
            if epoch == 2:
                raise Lost

        with pytest.raises(Lost):
            train(index_path, None, SETTINGS, folder / "lost", lose)
        port = free_port()
        nodes = [start_node(key, number, port, folder) for number in (1, 0)]
        codes = [node.wait() for node in nodes]
        assert codes == [0, 0], "\n".join(path.read_text()[-3000:] for path in folder.glob("*.log"))
        yield folder, key


def test_both_go_on_from_the_checkpoint_in_the_store(trained):
    folder, _ = trained
    assert "after 1 of 2 epochs" in (folder / "node0.log").read_text()
    (checkpoint,) = (folder / "node1").rglob("last.pt")  # fetched, and never written
    assert checkpoint.read_bytes() == next((folder / "lost").rglob("last.pt")).read_bytes()
    assert not list((folder / "node1").rglob("model.onnx"))


def test_what_comes_back(trained, tmp_path):
    import mlflow

    folder, key = trained
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    done = find_result(key, tmp_path / "model")
    assert done
    assert verify_sums(tmp_path / "model") == done.digest
    assert done.metrics.keys() >= {"val/accuracy", "val/loss"}
    run = client.get_run(done.run_id)
    assert (run.info.status, run.data.tags["dataset"]) == ("FINISHED", "drawn")
    steps = [entry.step for entry in client.get_metric_history(done.run_id, "train/loss")]
    assert sorted(steps) == [1, 2]


def test_the_same_training_is_ordered_and_done_once(trained, monkeypatch):
    folder, key = trained
    again = Order(replace(SETTINGS, device="cpu,cpu", name="other"), None, {})
    assert place_order(folder / "bins/index.parquet", again) == key
    monkeypatch.setenv("PET_NNODES", "2")  # nobody waits for the other node
    be_node(key, folder / "third")
    assert not (folder / "third").exists()
    assert find_result("trainings/none", folder / "none") is None
    assert json.loads((folder / "store" / key / "order.json").read_text())["task"] == "bin-counter"

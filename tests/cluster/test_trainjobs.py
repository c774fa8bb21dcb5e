"""A TrainJob of ours, against a real Kubernetes API; the tests do what Trainer's controller would."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.training import train_shelf_detector
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.cluster.api import TRAIN_JOB, Cluster, ClusterError, Kind
from stocktake.cluster.node_pool_training import train_on_nodes
from stocktake.cluster.trainjob import RUNTIME, NodePool, manifests
from stocktake.cluster.trainjob_run import describe, run_job
from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.model_card import verify_sums
from stocktake.node_training import Order, place_order
from tests.cluster.controllers import between_looks, set_status
from tests.pipeline_role import as_pipelines
from tests.tiny_model import write_model_dir

IMAGE = "registry.example.org/stocktake-train@sha256:" + "0" * 64
RUNTIME_KIND = Kind("trainer.kubeflow.org/v1alpha1", "TrainingRuntime")
POOL = NodePool(nodes=2, gpus=4, cache_claim="photos", tolerations=[{"key": "spot", "operator": "Exists"}])


def documents(name: str = "night", pool: NodePool = POOL) -> list[dict]:
    return manifests(name, "trainings/0123", IMAGE, pool)


def end_job(cluster: Cluster, name: str, end: str = "Complete") -> None:
    condition = {
        "type": end,
        "status": "True",
        "reason": "JobsEnded",
        "message": "jobset has ended",
        "lastTransitionTime": "2026-11-22T06:00:00Z",
    }
    set_status(cluster, TRAIN_JOB, name, {"conditions": [condition]})


def put_result(folder: Path) -> None:
    """What the first node does at its end."""
    digest = verify_sums(write_model_dir(folder / "model"))
    (folder / "rules.html").write_text("<html>")
    about = {"digest": digest, "run_id": "1", "metrics": {"val/loss": 0.5}, "rules": "all well"}
    (folder / "result.json").write_text(json.dumps(about))


def test_a_job_is_started_and_followed_to_its_end(cluster, kube_api, monkeypatch):
    runner = as_pipelines(kube_api, cluster)
    between_looks(monkeypatch, lambda: end_job(cluster, "night"))
    found = run_job(runner, documents(), poll_s=0.01)
    assert describe(found) == "Complete"
    assert found["spec"]["trainer"]["numNodes"] == 2
    assert cluster.get(RUNTIME_KIND, RUNTIME)
    # one that has ended without a result is started anew
    between_looks(monkeypatch, lambda: end_job(cluster, "night", "Failed"))
    with pytest.raises(ClusterError, match=r"night failed: jobset has ended; look at `kubectl -n test-"):
        run_job(runner, documents(), poll_s=0.01)
    assert cluster.get(TRAIN_JOB, "night")["metadata"]["uid"] != found["metadata"]["uid"]


def test_a_job_that_runs_is_taken_up_and_not_changed(cluster, monkeypatch):
    for document in documents():
        cluster.apply(document, "stocktake-training")
    with pytest.raises(ClusterError, match=r"trains this already with another numNodes \(2\)"):
        run_job(cluster, documents(pool=NodePool(nodes=4, gpus=4)), poll_s=0.01)
    between_looks(monkeypatch, lambda: end_job(cluster, "night"))
    before = cluster.get(TRAIN_JOB, "night")["metadata"]["uid"]
    assert run_job(cluster, documents(), poll_s=0.01)["metadata"]["uid"] == before


def test_who_may_not_is_told(cluster, kube_api):
    with pytest.raises(ClusterError, match="403"):
        run_job(kube_api.connect(cluster.namespace, "nobody"), documents())


def test_what_the_nodes_put_into_the_store_is_fetched(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STOCKTAKE_TRAIN_IMAGE", IMAGE)
    index_path = tmp_path / "index.parquet"
    DatasetIndex([], str(tmp_path), {"name": "none"}).write(index_path)
    order = Order(BinTrainSettings(device="cpu"), None, {})
    key = place_order(index_path, order)
    name = f"bin-counter-{key.rpartition('/')[2][:12]}"
    folder = tmp_path / "store" / key

    def train() -> None:
        put_result(folder)
        end_job(cluster, name)

    between_looks(monkeypatch, train)
    pool = NodePool(nodes=2, gpus=0)
    done = train_on_nodes(pool, index_path, tmp_path / "model", order, cluster, poll_s=0.01)
    assert (done.run_id, done.metrics, done.rules_page) == ("1", {"val/loss": 0.5}, "<html>")
    assert verify_sums(tmp_path / "model") == done.digest
    cluster.delete(TRAIN_JOB, name)  # what has been trained is fetched again without a job
    assert train_on_nodes(pool, index_path, tmp_path / "again", order, cluster).digest == done.digest
    with pytest.raises(SettingsError, match="batch_size is 32; it must be a multiple of 3"):
        train_on_nodes(NodePool(nodes=3, gpus=0), index_path, tmp_path / "model", order, cluster)


def test_a_step_has_a_trainjob_train_yolo_on_the_gpus_of_one_machine(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STOCKTAKE_TRAIN_IMAGE", IMAGE)
    DatasetIndex([], str(tmp_path), {"name": "none"}).write(tmp_path / "index")
    artifacts = {
        "index": dsl.Dataset(name="index", uri=str(tmp_path / "index")),
        "model": dsl.Model(name="model", uri=str(tmp_path / "model")),
        "metrics": dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics")),
    }
    seen = []

    def train() -> None:
        (folder,) = (tmp_path / "store/trainings").iterdir()
        job = cluster.get(TRAIN_JOB, f"shelf-detector-{folder.name[:12]}")
        seen.append(job["spec"])
        put_result(folder)
        end_job(cluster, job["metadata"]["name"])

    between_looks(monkeypatch, train)
    done = train_shelf_detector.python_func(
        digest="1", code_version="2", weights="yolov5m.pt", size="", epochs=3, img=640, batch=128, freeze=0,
        hyp="med", cache="", patience=5, seed=0, gpus=8, trainjob=True, gpu_type="nvidia.com/gpu",
        node_selector={"pool": "a100"}, tolerations=[{"key": "spot", "operator": "Exists"}], **artifacts,
    )  # fmt: skip
    assert done == (verify_sums(tmp_path / "model"), "1")
    assert artifacts["metrics"].metadata == {"val/loss": 0.5}
    (spec,) = seen
    assert (spec["trainer"]["numNodes"], spec["trainer"]["numProcPerNode"]) == (1, 8)
    assert spec["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "8"
    (key,) = spec["trainer"]["args"]
    order = Order.loads((tmp_path / "store" / key / "order.json").read_text())
    assert (order.settings.device, order.settings.batch) == ("0,1,2,3,4,5,6,7", 128)
    assert order.tags == {"code_version": "2", "dataset": "1"}

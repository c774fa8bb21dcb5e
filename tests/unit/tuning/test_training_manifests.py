"""The TrainJob and the Experiment that go to a cluster, and the pods that come of them."""

from pathlib import Path

import pytest
import yaml

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.cli import main
from stocktake.cluster.trainjob import NodePool, job_name, manifests
from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.node_training import Order
from stocktake.shelf.train_settings import TrainSettings
from stocktake.tuning.katib import experiment
from stocktake.tuning.katib_job import TrialPod
from stocktake.tuning.search_space import load
from tests.kubernetes_schemas import validate
from tests.pods import pod_specs, violations

IMAGE = "registry.example.org/stocktake-train@sha256:" + "0" * 64
SPOT = {"key": "spot", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 60.0}
POOL = NodePool(nodes=4, gpus=8, cache_claim="photos", node_selector={"pool": "a100"}, tolerations=[SPOT])


@pytest.fixture(
    scope="module", params=[NodePool(), NodePool(gpus=8), POOL], ids=["one", "eight GPUs", "four"]
)
def documents(request) -> list[dict]:
    return manifests("bin-counter-0123456789ab", "trainings/0123456789abcdef", IMAGE, request.param)


def test_they_keep_to_the_schemas(documents):
    for document in documents:
        assert validate(document) == []
    pod = TrialPod(image=IMAGE, claim="photos", cache_claim="cache", parent_run="1")
    assert validate(experiment(load("bins"), pod)) == []


def test_their_pods_are_restricted(documents):
    runtime, _ = documents
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert violations(job["template"]["spec"]["template"]["spec"]) == []
    for pod in pod_specs(experiment(load("bins"), TrialPod(image=IMAGE))):
        assert violations(pod) == []


def test_a_failed_pod_starts_all_nodes_again_and_one_that_was_taken_away_does_not_count(documents):
    spec = documents[0]["spec"]["template"]["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    policy = spec["failurePolicy"]
    assert policy["restartStrategy"] == "BlockingRecreate"
    assert policy["rules"][0]["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert policy["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_what_a_pool_becomes():
    runtime, job = manifests("night", "trainings/01", IMAGE, POOL)
    assert runtime == manifests("other", "trainings/02", IMAGE, NodePool())[0]
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (4, 8)
    assert trainer["resourcesPerNode"]["limits"] == {"memory": "48Gi", "nvidia.com/gpu": "8"}
    assert trainer["command"] + trainer["args"] == ["python", "-m", "stocktake.node_training", "trainings/01"]
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {**SPOT, "tolerationSeconds": 60},
    ]
    assert type(pod["tolerations"][1]["tolerationSeconds"]) is int
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "photos"}
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert trainer["env"] == [{"name": "STOCKTAKE_CACHE", "value": mount["mountPath"]}]


def test_names_have_room_for_those_of_pods():
    assert job_name("bin-counter", "trainings/" + "f" * 32) == "bin-counter-ffffffffffff"


@pytest.mark.parametrize(
    ("settings", "nodes", "message"),
    [
        (BinTrainSettings(batch_size=32, device="0,1"), 3, "a multiple of 6, the devices of 3 nodes"),
        (BinTrainSettings(batch_size=32, device="0,1"), 8, "at least 64"),
        (TrainSettings(), 2, "nodes is 2; it must be 1: YOLOv5"),
    ],
)
def test_what_nodes_cannot_do_together(settings, nodes, message):
    with pytest.raises(SettingsError, match=message):
        Order(settings, None, {}).check_nodes(nodes)


def test_an_order_comes_back_as_it_was_given():
    for settings in (BinTrainSettings(lr=0.01, device="0,1"), TrainSettings(epochs=3)):
        order = Order(settings, None, {"dataset": "1"})
        assert Order.loads(order.dumps()) == order


def test_the_verb_writes_it_and_puts_the_training_into_the_store(bins_index, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STOCKTAKE_TRAIN_IMAGE", IMAGE)
    photos, index = DatasetIndex.read(bins_index), tmp_path / "prepared.parquet"
    DatasetIndex(photos.photos, photos.store, {**photos.metadata, "made_from": "1"}).write(index)
    words = ["bins", "train", "--data", str(index), "--epochs", "3", "--rules", "seed", "--nodes", "2"]
    file = tmp_path / "trainjob.yaml"
    assert main([*words, "--gpus", "2", "--trainjob", str(file)]) == 0
    written, model = capsys.readouterr().out.splitlines()
    assert written == str(file)
    folder = Path(model.removeprefix("the model will be in ")).parent
    runtime, job = yaml.safe_load_all(file.read_text())
    assert job["spec"]["trainer"]["args"] == [f"trainings/{folder.name}"]
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert runtime["kind"] == "TrainingRuntime"
    order = Order.loads((folder / "order.json").read_text())
    assert (order.settings.epochs, order.settings.device, order.rules.preset) == (3, "0,1", "seed")
    assert DatasetIndex.read(folder / "index.parquet").digest == DatasetIndex.read(index).digest


def test_a_trainjob_takes_a_prepared_index(tmp_path, capsys):
    assert main(["bins", "train", "--data", str(tmp_path), "--trainjob", str(tmp_path / "job.yaml")]) == 1
    assert "takes a prepared index.parquet" in capsys.readouterr().err

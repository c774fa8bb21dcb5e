"""A search on Katib, against a real Kubernetes API; the tests do what Katib's controller would."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stocktake.cluster.api import EXPERIMENT, TRIAL, Cluster, ClusterError
from stocktake.cluster.experiment import COLLECTOR_LABEL, PARENT_RUN, find_experiment
from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.tuning.katib import experiment, search_digest
from stocktake.tuning.katib_job import TrialPod
from stocktake.tuning.katib_result import best_values
from stocktake.tuning.katib_search import FOUND_FILE, search_on_katib
from stocktake.tuning.search_space import load
from tests.cluster.controllers import between_looks, set_status
from tests.kube_api import KubeApi
from tests.pipeline_role import as_pipelines

POD = TrialPod(image="registry.example.org/stocktake-train@sha256:" + "0" * 64)
SPACE = load("bins")
TRIALS = [  # drawn, how it ended, its best accuracy
    ({"lr": "0.01", "batch_size": "64", "epochs": "4"}, "Succeeded", "0.61"),
    ({"lr": "0.002", "batch_size": "32", "epochs": "9"}, "Succeeded", "0.74"),
    ({"lr": "0.09", "batch_size": "512", "epochs": "9"}, "EarlyStopped", "0.22"),
    ({"lr": "0.05", "batch_size": "512", "epochs": "2"}, "Failed", None),
]


@pytest.fixture(scope="module")
def _trials(kube_api: KubeApi) -> None:
    """Katib's other kind of object; its definition says as little."""
    names = {"kind": "Trial", "listKind": "TrialList", "plural": "trials", "singular": "trial"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
    kube_api.define(
        [
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": "trials.kubeflow.org"},
                "spec": {
                    "group": "kubeflow.org",
                    "scope": "Namespaced",
                    "names": names,
                    "versions": [{**version, "subresources": {"status": {}}}],
                },
            }
        ]
    )


@pytest.fixture
def katib(cluster: Cluster, _trials) -> Cluster:
    """A namespace that Katib's collector looks at."""
    label(cluster, "enabled")
    return cluster


def label(cluster: Cluster, value: str) -> None:
    metadata = {"name": cluster.namespace, "labels": {COLLECTOR_LABEL: value}}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "test")


def add_trial(cluster: Cluster, search: str, number: int) -> None:
    drawn, end, value = TRIALS[number]
    name = f"{search}-{number}"
    cluster.create(
        {
            "apiVersion": TRIAL.api_version,
            "kind": TRIAL.kind,
            "metadata": {"name": name, "labels": {"katib.kubeflow.org/experiment": search}},
            "spec": {"parameterAssignments": [{"name": key, "value": text} for key, text in drawn.items()]},
        }
    )
    status: dict = {"conditions": [{"type": end, "status": "True", "message": f"{end} by itself"}]}
    if value:
        figure = {"name": "val/accuracy", "min": "0", "max": value, "latest": "0"}
        status["observation"] = {"metrics": [figure]}
    set_status(cluster, TRIAL, name, status)


def end_search(cluster: Cluster, name: str, trials: int, end: str = "Succeeded") -> None:
    """Do what Katib does from an experiment's beginning to its end."""
    for number in range(trials):
        add_trial(cluster, name, number)
    best = [{"name": key, "value": text} for key, text in TRIALS[1][0].items()]
    status = {
        "trials": trials,
        "trialsSucceeded": min(trials, 2),
        "trialsRunning": 0,
        "conditions": [{"type": end, "status": "True", "message": "Experiment has ended"}],
    }
    if trials:
        figure = {"name": "val/accuracy", "min": "0.1", "max": "0.74", "latest": "0.7"}
        status["currentOptimalTrial"] = {
            "bestTrialName": f"{name}-1",
            "parameterAssignments": best,
            "observation": {"metrics": [figure]},
        }
    set_status(cluster, EXPERIMENT, name, status)


@pytest.fixture
def index_path(tmp_path, monkeypatch, empty_database):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    database = shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    path = tmp_path / "index.parquet"
    DatasetIndex([], str(tmp_path), {"name": "none"}).write(path)
    return path


def search(cluster, index_path, name="night", **changes):
    given = {"pod": POD, "trials": 4, **changes}
    out = index_path.parent / "search"
    return search_on_katib(cluster, index_path, out, SPACE, name=name, workers=2, poll_s=0.01, **given)


def test_a_search_ends_with_the_best_trial_and_its_run_is_above_the_others(
    katib, kube_api, index_path, monkeypatch, caplog
):
    import mlflow

    runner = as_pipelines(kube_api, katib)
    stored = index_path.parent / "store/indexes" / DatasetIndex.read(index_path).digest / "index.parquet"
    name = f"bins-{search_digest(SPACE, replace(POD, data=str(stored)), 0)[:10]}"
    between_looks(
        monkeypatch,
        lambda: set_status(katib, EXPERIMENT, name, {"trials": 2, "trialsRunning": 2}),
        lambda: end_search(katib, name, 4),
    )
    with caplog.at_level("INFO", "stocktake.cluster.following"):
        found = search(runner, index_path, name=None)
    assert caplog.messages == [
        f"Experiment {name}: 0 of 4 trials begun",
        f"Experiment {name}: 2 of 4 trials begun (2 running)",
        f"Experiment {name}: 4 of 4 trials begun (2 complete); best val/accuracy 0.74 with lr 0.002,"
        " batch_size 32, epochs 9",
    ]
    assert (found.best.number, found.best.value) == (1, 0.74)
    assert found.best.parameters == {"lr": 0.002, "batch_size": 32, "epochs": 9}
    assert [row.state for row in found.rows] == ["complete", "complete", "pruned", "failed"]
    assert found.rows[3].reason == f"{name}-3: Failed by itself"
    assert "Best is trial 1" in found.report.read_text()
    assert best_values(found.folder / FOUND_FILE, SPACE) == found.best.parameters

    made = katib.get(EXPERIMENT, name)
    assert made["metadata"]["annotations"][PARENT_RUN] == found.run_id
    container = made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "MLFLOW_PARENT_RUN_ID", "value": found.run_id} in container["env"]
    data = container["args"][container["args"].index("--data") + 1]
    assert DatasetIndex.read(Path(data)).digest == DatasetIndex.read(index_path).digest
    assert mlflow.MlflowClient().get_run(found.run_id).data.tags["best.lr"] == "0.002"

    again = search(runner, index_path, name=None)  # it has ended: it is read, and its run goes on
    assert (again.run_id, again.best.number) == (found.run_id, 1)
    assert len(katib.list(EXPERIMENT)) == 1


@pytest.mark.parametrize("cut", ["api.Cluster.apply", "experiment.follow"])
def test_a_search_whose_launcher_was_killed_is_taken_up(katib, index_path, cut, monkeypatch):
    def die(*_arguments, **_more):
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"stocktake.cluster.{cut}", die)
        with pytest.raises(InterruptedError):
            search(katib, index_path)
    before = katib.get(EXPERIMENT, "night")
    between_looks(monkeypatch, lambda: end_search(katib, "night", 2))
    found = search(katib, index_path)
    after = katib.get(EXPERIMENT, "night")
    assert before is None or before["metadata"]["uid"] == after["metadata"]["uid"]
    assert found.run_id == after["metadata"]["annotations"][PARENT_RUN]
    assert found.best.number == 1


def test_a_name_belongs_to_one_search(katib):
    first = experiment(SPACE, replace(POD, parent_run="1"), "night", trials=4)
    katib.apply(first, "stocktake-search")
    more = experiment(SPACE, POD, "night", trials=9, workers=1)
    assert find_experiment(katib, more)["metadata"]["annotations"][PARENT_RUN] == "1"
    for space, pod in ((SPACE, replace(POD, memory="8Gi")), (load("bins", {"img": 96}), POD)):
        with pytest.raises(ClusterError, match=r"is of another search: .* delete experiment night"):
            find_experiment(katib, experiment(space, pod, "night"))


def test_an_experiment_that_failed_says_why(katib, index_path, monkeypatch):
    between_looks(monkeypatch, lambda: end_search(katib, "night", 0, "Failed"))
    with pytest.raises(ClusterError, match=r"night failed: Experiment has ended; look at `kubectl -n test-"):
        search(katib, index_path)


def test_a_search_without_a_complete_trial(katib, index_path, monkeypatch):
    between_looks(monkeypatch, lambda: end_search(katib, "night", 0))
    with pytest.raises(SettingsError, match="no trial of the experiment night was completed"):
        search(katib, index_path)


def test_a_namespace_that_the_collector_leaves_out(cluster, index_path):
    label(cluster, "disabled")
    with pytest.raises(ClusterError, match=f"lacks the label {COLLECTOR_LABEL}=enabled.*kubectl label name"):
        search(cluster, index_path)
    assert cluster.list(EXPERIMENT) == []


def test_who_may_not_is_told_what_to_ask_for(cluster, kube_api, index_path):
    nobody = kube_api.connect(cluster.namespace, "nobody")
    with pytest.raises(ClusterError, match="403"):
        search(nobody, index_path)

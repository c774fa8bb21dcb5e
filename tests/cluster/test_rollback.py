"""Back to the model before: only where it can be fetched, and not for good where its pods do not start."""

from dataclasses import replace

import pytest

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, ClusterError
from stocktake.cluster.deploy import deploy, roll_back
from stocktake.cluster.lease import DeployLease
from stocktake.cluster.preflight import STOP
from stocktake.cluster.rollout import Served
from stocktake.cluster.workload import DEPLOYMENT, HTTP_ROUTE, POD
from stocktake.registry import register
from stocktake.storage import open_store
from tests.cluster.deploys import (
    NAME,
    WAYS,
    check_that_requests_were_answered,
    let_an_hour_go_by,
    pods_of,
    read_holder,
    record,
    runtime,
)
from tests.registry_data import figures, index_of
from tests.tiny_model import write_model_dir


@pytest.fixture
def damaged(models, tmp_path) -> Served:
    """A model dir of which a file was changed after it was registered."""
    model_dir = write_model_dir(tmp_path / "damaged", score_threshold=0.2)
    version = register(model_dir, index_of("a.jpg"), figures(0.5, 0.5), "s3://models/store", NAME)
    open_store(version.model_uri).put("model.onnx", b"another")
    return Served(f"{version.model_uri}/", version.uri)


@pytest.fixture
def exchanged(models, tmp_path) -> Served:
    """A model dir that is whole, in the folder of another one."""
    model_dir = write_model_dir(tmp_path / "exchanged", score_threshold=0.1)
    store = open_store(f"s3://models/store/models/{NAME}/{'e' * 64}")
    for path in model_dir.iterdir():
        store.put(path.name, path.read_bytes())
    return Served(f"{store.uri}/", f"models:/{NAME}/1")


@pytest.fixture
def gone(models) -> Served:
    """A model dir that was deleted."""
    return Served(f"s3://models/store/models/{NAME}/{'a' * 64}/", f"models:/{NAME}/1")


@pytest.fixture
def elsewhere(models) -> Served:
    """A model dir in a bucket that is not there."""
    return Served(f"s3://no-such-bucket/models/{NAME}/{'a' * 64}/", f"models:/{NAME}/1")


@pytest.mark.parametrize("before", ["gone", "elsewhere", "damaged", "exchanged"])
def test_what_serves_is_left_alone_where_the_model_before_cannot_be_fetched(
    before, cluster, start, models, quick, request
):
    controllers = start(weighted=False)
    deploy(cluster, models.versions[1], quick)
    previous = request.getfixturevalue(before)
    remember_as_previous(cluster, previous)
    spec, known = cluster.get(INFERENCE_SERVICE, NAME)["spec"], record(cluster)
    controllers.history.clear()
    with pytest.raises(ClusterError, match=r"can't come back, and nothing was changed: .*deploy shelf-det"):
        roll_back(cluster, NAME, quick)
    assert cluster.get(INFERENCE_SERVICE, NAME)["spec"] == spec
    assert record(cluster) == known
    assert read_holder(cluster) is None
    controllers.settle()
    assert {backends for (backends,) in controllers.history} == {(100, models.uris[1], 1)}


def test_the_runtime_of_today_does_not_run_the_model_before(cluster, start, models, quick):
    start(weighted=False)
    deploy(cluster, models.versions[1], quick)
    asking = runtime("stocktake-gpu")
    asking["spec"]["containers"][0]["env"] = [{"name": "STOCKTAKE_PRECISION", "value": "int8"}]
    cluster.apply(asking, "kubectl")
    with pytest.raises(ClusterError, match=r"nothing was changed: .*stocktake-gpu asks for .*int8"):
        roll_back(cluster, NAME, quick)
    assert cluster.get(INFERENCE_SERVICE, NAME)["spec"]["predictor"]["model"]["storageUri"] == models.uris[1]
    cluster.delete(SERVING_RUNTIME, "stocktake-gpu")
    with pytest.raises(ClusterError, match="is no ServingRuntime"):
        roll_back(cluster, NAME, quick)


@pytest.mark.parametrize("way", WAYS)
def test_what_served_comes_back_where_the_model_before_does_not_start(
    way, cluster, start, models, quick, monkeypatch
):
    controllers = start(**WAYS[way])
    deploy(cluster, models.versions[1], quick)
    controllers.settle()
    port = controllers.ports.pop(models.uris[0])
    let_an_hour_go_by(cluster, controllers, monkeypatch)
    said = []
    with pytest.raises(ClusterError, match=r"can't come back: .*Insufficient nvidia.*; models.* serves"):
        roll_back(cluster, NAME, quick, said.append)
    assert controllers.settle() == [(100, models.uris[1], pods_of(way))]
    remembered = record(cluster)
    assert (remembered.candidate, remembered.back) == (None, False)
    assert (remembered.serving.uri, remembered.previous.uri) == tuple(reversed(models.uris))
    controllers.ports[models.uris[0]] = port  # a GPU is free again
    assert roll_back(cluster, NAME, quick).outcome == "rolled back"
    assert controllers.settle()[0][:2] == (100, models.uris[0])
    check_that_requests_were_answered(controllers)


@pytest.mark.parametrize("way", WAYS)
def test_a_service_that_was_stopped_goes_back_without_serving_the_bad_model_again(
    way, cluster, start, models, quick
):
    controllers = start(**WAYS[way])
    deploy(cluster, models.versions[1], quick)
    stop(cluster, controllers)
    report = roll_back(cluster, NAME, replace(quick, ready_s=0))
    assert report.outcome == "rolled back"
    assert report.reason.endswith(f"annotate inferenceservice {NAME} serving.kserve.io/stop-")
    spec = cluster.get(INFERENCE_SERVICE, NAME)["spec"]
    assert spec["predictor"]["model"]["storageUri"] == models.uris[0]
    assert "canary" not in spec
    assert "canaryTrafficPercent" not in spec["predictor"]
    remembered = record(cluster)
    assert (remembered.serving.uri, remembered.previous, remembered.candidate) == (models.uris[0], None, None)


@pytest.mark.parametrize("way", ["canary", "revisions"])
def test_a_candidate_of_a_service_that_was_stopped_is_withdrawn(way, cluster, start, models, quick):
    controllers = start(**WAYS[way])
    assert deploy(cluster, models.versions[1], replace(quick, hold=True)).outcome == "held"
    stop(cluster, controllers)
    report = roll_back(cluster, NAME, replace(quick, ready_s=0))
    assert "was withdrawn by hand; it is stopped" in report.reason
    spec = cluster.get(INFERENCE_SERVICE, NAME)["spec"]
    assert spec["predictor"]["model"]["storageUri"] == models.uris[0]
    assert "canary" not in spec
    assert "canaryTrafficPercent" not in spec["predictor"]
    assert record(cluster).candidate is None


def stop(cluster, controllers) -> None:
    """What KServe does for somebody who has stopped a service: pods and routes go away."""
    controllers.close()
    for kind in (DEPLOYMENT, POD, HTTP_ROUTE):
        for each in cluster.list(kind):
            cluster.delete(kind, each["metadata"]["name"])
    head = {"apiVersion": INFERENCE_SERVICE.api_version, "kind": INFERENCE_SERVICE.kind}
    cluster.apply({**head, "metadata": {"name": NAME, "annotations": {STOP: "true"}}}, "somebody")


def remember_as_previous(cluster, previous: Served) -> None:
    lease = DeployLease(cluster, cluster.get(INFERENCE_SERVICE, NAME))
    lease.acquire()
    lease.save(replace(lease.record, previous=previous))
    lease.release()

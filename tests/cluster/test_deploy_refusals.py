"""What a deploy refuses before it changes anything, in one line that says what to do."""

import time

import pytest

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, ClusterError
from stocktake.cluster.deploy import deploy, promote, roll_back
from stocktake.cluster.deploy_settings import DeploySettings
from stocktake.cluster.lease import LEASE, DeployLease, LeaseLost
from stocktake.cluster.preflight import check_runtime, check_version, choose_way, find_service
from stocktake.cluster.rights import TO_DEPLOY
from stocktake.cluster.rollout import Record, Served
from stocktake.errors import ModelError
from stocktake.model_versions import ModelVersion
from tests.cluster.roles import allow
from tests.tiny_model import card

NAME = "shelf-detector"
MODE = "serving.kserve.io/deploymentMode"


def service(name: str = NAME, mode: str | None = "Standard", **predictor) -> dict:
    model = {"modelFormat": {"name": "stocktake"}, "runtime": "stocktake-cpu"}
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {"name": name, "annotations": {MODE: mode} if mode else {}},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def runtime(image: str, env: list) -> dict:
    return {
        "apiVersion": SERVING_RUNTIME.api_version,
        "kind": SERVING_RUNTIME.kind,
        "metadata": {"name": "stocktake-cpu"},
        "spec": {
            "supportedModelFormats": [{"name": "stocktake"}],
            "containers": [{"name": "kserve-container", "image": image, "env": env}],
        },
    }


def version(model_uri: str) -> ModelVersion:
    return ModelVersion(NAME, 3, model_uri, "a" * 64, "m-1", NAME)


@pytest.mark.parametrize("verb", ["deploy", "promote", "rollback"])
@pytest.mark.parametrize("missing", ["deployments", "pods", "leases"])
def test_a_right_that_is_missing_is_named_before_anything_is_changed(cluster, kube_api, verb, missing):
    start = {
        "deploy": lambda by: deploy(by, version(f"s3://models/{'a' * 64}"), DeploySettings()),
        "promote": lambda by: promote(by, NAME),
        "rollback": lambda by: roll_back(by, NAME),
    }[verb]
    rights = [right for right in TO_DEPLOY if right.resource != missing]
    allow(cluster, {"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}, rights)
    before = cluster.apply(service(), "kubectl")
    with pytest.raises(ClusterError, match=f"this account may not .*{missing}.*; bind a Role to it"):
        start(kube_api.connect(cluster.namespace, "nobody"))
    assert cluster.get(INFERENCE_SERVICE, NAME) == before
    assert cluster.list(LEASE) == []


def test_no_service(cluster):
    with pytest.raises(ClusterError, match=r"no InferenceService shelf-.*: kubectl apply --server-side -k"):
        find_service(cluster, NAME)


@pytest.mark.parametrize("mode", [None, "RawDeployment", "ModelMesh"])
def test_an_unknown_mode(cluster, mode):
    cluster.apply(service(mode=mode), "kubectl")
    with pytest.raises(ClusterError, match=r"deploymentMode is .*; set it to Standard or Knative"):
        find_service(cluster, NAME)


@pytest.mark.parametrize("begin", [promote, find_service])  # `deploy` begins with the last
def test_a_service_that_is_stopped_is_left_as_it_is(cluster, begin):
    stopped = service()
    stopped["metadata"]["annotations"]["serving.kserve.io/stop"] = "true"
    before = cluster.apply(stopped, "kubectl")
    command = rf"kubectl -n {cluster.namespace} annotate inferenceservice {NAME} serving.kserve.io/stop-"
    with pytest.raises(ClusterError, match=f"is stopped .* start it first: {command}$"):
        begin(cluster, NAME)
    assert cluster.get(INFERENCE_SERVICE, NAME) == before
    assert cluster.list(LEASE) == []
    stopped["metadata"]["annotations"]["serving.kserve.io/stop"] = "false"
    cluster.apply(stopped, "kubectl")
    assert find_service(cluster, NAME)


def test_a_name_that_is_too_long_for_labels(cluster):
    name = "a-detector-whose-name-is-far-too-long-a"
    cluster.apply(service(name), "kubectl")
    with pytest.raises(ClusterError, match="over 63 characters; use a name that is 1 shorter"):
        find_service(cluster, name)


def test_no_runtime(cluster):
    live = cluster.apply(service(), "kubectl")
    with pytest.raises(ClusterError, match="its runtime 'stocktake-cpu' is no ServingRuntime"):
        check_runtime(cluster, live, card())


@pytest.mark.parametrize("image", ["stocktake-predictor-cpu", "registry.example.org:5000/predictor:latest"])
def test_an_image_that_moves(cluster, image):
    cluster.apply(runtime(image, []), "kubectl")
    with pytest.raises(ClusterError, match="needs a version tag or a digest"):
        check_runtime(cluster, cluster.apply(service(), "kubectl"), card())


def test_a_precision_that_the_card_forbids(cluster):
    asked = [{"name": "STOCKTAKE_PRECISION", "value": "int8"}]
    cluster.apply(runtime("predictor:1", asked), "kubectl")
    live = cluster.apply(service(), "kubectl")
    with pytest.raises(ModelError, match="asks for precision int8, but the model's card allows fp32 only"):
        check_runtime(cluster, live, card())
    check_runtime(cluster, live, card(precisions=["fp32", "int8"]))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"/srv/store/models/shelf-detector/{'a' * 64}", "which no cluster can read"),
        ("s3://models/shelf-detector/v3", "not called after their digest"),
        (f"s3://models/shelf-detector/{'b' * 64}", "not called after their digest"),
    ],
)
def test_files_where_no_pod_finds_them(uri, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        check_version(version(uri), tmp_path)


@pytest.mark.parametrize(
    ("predictor", "why"),
    [
        ({}, "without an HTTPRoute"),
        ({"deploymentStrategy": {"type": "Recreate"}}, "no room for a second pod"),
        (
            {"deploymentStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}},
            "no room for a second pod",
        ),
        ({"minReplicas": 0}, "minReplicas is 0"),
    ],
)
def test_a_model_is_exchanged_in_place_where_requests_cannot_be_divided(cluster, predictor, why):
    way, because = choose_way(cluster, cluster.apply(service(**predictor), "kubectl"))
    assert way == "direct"
    assert why in because


def test_in_place_is_what_somebody_may_ask_for(cluster):
    strategy = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    live = cluster.apply(service(minReplicas=2, deploymentStrategy=strategy), "kubectl")
    assert "without an HTTPRoute" in choose_way(cluster, live)[1]
    assert choose_way(cluster, live, in_place=True) == ("direct", "--in-place was asked for")


def test_one_deploy_at_a_time(cluster):
    live = cluster.apply(service(), "kubectl")
    first, second = DeployLease(cluster, live), DeployLease(cluster, live)
    first.acquire()
    with pytest.raises(
        ClusterError, match=r"deploys to it; wait for it to end, .* runs out, at \d\d:\d\d:\d\d UTC"
    ):
        second.acquire()
    first.save(Record(serving=Served("s3://models/a/", "models:/shelf-detector/1"), report="done"))
    first.release()
    second.acquire()
    assert second.record == first.record


def test_a_deploy_that_was_silent_for_too_long_has_lost(cluster):
    live = cluster.apply(service(), "kubectl")
    silent, other = DeployLease(cluster, live, seconds=1), DeployLease(cluster, live)
    silent.acquire()
    for _ in range(200):
        try:
            other.acquire()
        except ClusterError:
            time.sleep(0.02)
        else:
            break
    for use in (silent.check, silent.renew, silent.release, lambda: silent.save(Record(report="late"))):
        with pytest.raises(LeaseLost, match="another deploy has taken over"):
            use()
    other.check()
    assert other.record == Record()

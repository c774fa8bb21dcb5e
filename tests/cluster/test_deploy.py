"""The real deploy against a real API server, registry, bucket and predictor; controllers are stood in for."""

import threading
from dataclasses import replace

import mlflow
import pytest

from pipelines.__main__ import main
from stocktake.cluster.api import INFERENCE_SERVICE, ClusterError, Conflict
from stocktake.cluster.deploy import deploy, promote, roll_back
from stocktake.cluster.lease import LEASE
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.cluster.workload import DEPLOYMENT
from stocktake.errors import ModelError, StoreError
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
    service,
)
from tests.registry_data import figures, index_of
from tests.tiny_model import write_model_dir


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def test_a_champion_takes_over(way, cluster, start, models, quick):
    controllers = start(**WAYS[way])
    said = []
    report = deploy(cluster, models.versions[1], quick, said.append)
    assert report.outcome == "deployed", report
    assert controllers.settle() == [(100, models.uris[1], pods_of(way))]
    check_that_requests_were_answered(controllers)
    remembered = record(cluster)
    assert (remembered.serving.uri, remembered.previous.uri) == tuple(reversed(models.uris))
    assert remembered.serving.version == f"models:/{NAME}/2"
    assert (remembered.candidate, remembered.report) == (None, report.sentence)
    assert "1 photos at 1 address" in report.reason
    assert deploy(cluster, models.versions[1], quick).outcome == "unchanged"
    assert ("canary" in cluster.get(INFERENCE_SERVICE, NAME)["spec"]) is False


def test_a_candidate_that_does_not_start_is_withdrawn(way, cluster, start, models, quick, monkeypatch):
    controllers = start(**WAYS[way])
    controllers.ports.pop(models.uris[1])
    let_an_hour_go_by(cluster, controllers, monkeypatch)
    report = deploy(cluster, models.versions[1], quick)
    assert report.outcome == "rolled back"
    assert "Insufficient nvidia.com/gpu" in report.reason
    assert controllers.settle() == [(100, models.uris[0], pods_of(way))]
    check_that_requests_were_answered(controllers)
    assert record(cluster).candidate is None
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate") is None


def test_a_candidate_that_serves_something_else_is_withdrawn(way, cluster, start, models, quick):
    controllers = start(**WAYS[way])
    first = models.versions[0]
    deploy(cluster, models.versions[1], quick)
    report = deploy(cluster, first, quick)  # the predictor behind it serves the second
    assert report.outcome == "rolled back"
    assert f"not {first.digest[:12]}" in report.reason
    assert controllers.settle()[0][:2] == (100, models.uris[1])
    check_that_requests_were_answered(controllers)


def test_no_pod_is_lost_that_an_autoscaler_has_added(cluster, start, models, quick):
    controllers = start(**WAYS["autoscaled"])
    assert deploy(cluster, models.versions[1], quick).outcome == "deployed"
    controllers.settle()
    assert {max(backends).pods for backends in controllers.history} == {3}
    assert {backends[0].uri for backends in controllers.history} == set(models.uris)
    assert len(cluster.list(DEPLOYMENT)) == 1


def test_a_candidate_that_is_slow_is_withdrawn(cluster, start, models, quick):
    controllers = start(**WAYS["canary"])
    photo = (quick.smoke / "shelf.png").read_bytes()
    client = PredictorClient(f"http://127.0.0.1:{models.port}", NAME)
    decided = threading.Event()

    def ask() -> None:
        while not decided.is_set():
            client.infer(photo)

    def ask_once_it_has_a_share(said: str) -> None:
        if "% of the requests" in said:
            asking.start()

    asking = threading.Thread(target=ask)
    strict = replace(quick, watch_s=300, max_p99_s=0)
    try:
        report = deploy(cluster, models.versions[1], strict, ask_once_it_has_a_share)
    finally:
        decided.set()
    asking.join()
    assert report.outcome == "rolled back"
    assert "99th percentile" in report.reason
    assert controllers.settle() == [(100, models.uris[0], 2)]
    client = mlflow.MlflowClient()
    assert client.get_model_version(NAME, "2").tags["deploy"] == "rolled back"


def test_a_person_promotes_what_is_held(way, cluster, start, models, quick):
    controllers = start(**WAYS[way])
    with pytest.raises(ClusterError, match="no candidate to promote"):
        promote(cluster, NAME, quick)
    with pytest.raises(ClusterError, match="no candidate or model before it"):
        roll_back(cluster, NAME, quick)
    report = deploy(cluster, models.versions[1], replace(quick, hold=True, canary=20))
    if way == "direct":  # there is nothing to hold
        assert report.outcome == "deployed"
        return
    assert report.outcome == "held"
    shares = {each.uri: each.percent for each in controllers.settle()}
    assert shares == {models.uris[0]: 80, models.uris[1]: 20}
    assert promote(cluster, NAME, quick).outcome == "deployed"
    assert controllers.settle()[0][:2] == (100, models.uris[1])
    check_that_requests_were_answered(controllers)


def test_another_champion_takes_the_place_of_a_candidate(cluster, start, models, quick):
    controllers = start(**WAYS["canary"])
    deploy(cluster, models.versions[1], replace(quick, hold=True))
    assert deploy(cluster, models.versions[0], quick).outcome == "unchanged"
    assert controllers.settle() == [(100, models.uris[0], 2)]


def test_the_first_model_of_a_service(cluster, start, models, quick):
    controllers = start(serve=False)
    assert deploy(cluster, models.versions[1], quick).outcome == "deployed"
    assert controllers.settle() == [(100, models.uris[1], 1)]


def test_a_field_that_somebody_else_owns_is_not_taken(cluster, start, models, quick):
    start(weighted=False)
    cluster.apply(service("Standard", uri=models.uris[0]), "somebody", force=True)
    with pytest.raises(Conflict, match="somebody"):
        deploy(cluster, models.versions[1], quick)
    assert read_holder(cluster) is None


def test_files_that_are_not_those_that_were_registered(cluster, start, models, quick, tmp_path):
    controllers = start(weighted=False)
    model_dir = write_model_dir(tmp_path / "damaged", score_threshold=0.3)
    version = register(model_dir, index_of("a.jpg"), figures(0.5, 0.5), "s3://models/store", NAME)
    store = open_store(version.model_uri)
    store.put("model.onnx", b"another")
    with pytest.raises((ModelError, StoreError), match="SHA-256"):
        deploy(cluster, version, quick)
    assert controllers.settle() == [(100, models.uris[0], 1)]
    assert cluster.get(LEASE, f"deploy-{NAME}") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shelf-detector", "--alias", "nobody"], "there is no such version"),
        (["shelf-detector", "--version", "99"], "there is no such version"),
        (["shelf-detector", "--smoke", "absent"], "smoke is 'absent'"),
        (["shelf-detector", "--canary", "0"], "canary is 0"),
        (["shelf-detector"], "apply an overlay first"),
    ],
)
def test_the_program_says_in_one_line_what_is_wrong(cluster, models, capsys, words, message):
    assert main(["deploy", *words]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1

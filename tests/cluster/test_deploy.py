"""The real deploy against a real API server, registry, bucket and predictor; controllers are stood in for."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import mlflow
import pytest
from PIL import Image

from pipelines.__main__ import main
from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, Cluster, ClusterError, Conflict
from stocktake.cluster.deploy import DeploySettings, deploy, promote, roll_back
from stocktake.cluster.deployment import Deployment
from stocktake.cluster.lease import LEASE, DeployLease, LeaseLost, read_record
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.cluster.rehearsal import rehearsal_service
from stocktake.cluster.rollout import Served
from stocktake.cluster.target import Target
from stocktake.cluster.trial import Terms, Trial
from stocktake.cluster.watching import Limits
from stocktake.cluster.workload import DEPLOYMENT, POD, REVISION
from stocktake.doctor import predictors
from stocktake.doctor.finding import Status
from stocktake.doctor.site import Site
from stocktake.errors import ModelError, StoreError
from stocktake.registry import register
from stocktake.registry_gate import gate
from stocktake.storage import open_store
from tests.kserve_controller import REVISIONS, Controllers
from tests.kube_api import is_listed
from tests.ports import free_ports
from tests.programs import need
from tests.registry_data import figures, index_of
from tests.s3_server import S3Server
from tests.tiny_model import draw_photo, write_model_dir

NAME = "shelf-detector"
INDEX = index_of("a.jpg")
ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """The process is gone."""


class DyingCluster:
    """A cluster whose caller dies after some writes: nothing that it does then reaches the API."""

    def __init__(self, cluster: Cluster, writes: int):
        self._cluster, self._left = cluster, writes

    def __getattr__(self, name):
        if self._left == 0:
            raise Killed
        if name not in ("create", "apply", "delete"):
            return getattr(self._cluster, name)

        def write(*arguments, **options):
            done = getattr(self._cluster, name)(*arguments, **options)
            self._left -= 1
            if self._left == 0:
                raise Killed
            return done

        return write


class Models(NamedTuple):
    """Registered versions, oldest first, and the port of a predictor that serves the last one."""

    versions: list
    port: int

    @property
    def uris(self) -> list[str]:
        return [f"{version.model_uri}/" for version in self.versions]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A bucket and a registry, which the environment names."""
    folder = tmp_path_factory.mktemp("places")
    server = S3Server(need("minio"), folder)
    server.start()
    server.client().make_bucket("models")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "AWS_SESSION_TOKEN", "AWS_REGION"):
            patch.delenv(name, raising=False)
        patch.setenv("S3_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", server.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
        patch.setenv("STOCKTAKE_S3_RETRIES", "0")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder
    server.kill()


@pytest.fixture(scope="module")
def models(places):
    """Two versions of a detector, and a predictor of the newer one under the names that it is asked by."""
    versions = []
    for number, threshold in enumerate((0.5, 0.4)):
        model_dir = write_model_dir(places / f"model{number}", score_threshold=threshold)
        versions.append(
            register(model_dir, INDEX, figures(0.8 + number / 10, 0.7), "s3://models/store", NAME)
        )
        gate(INDEX, NAME)
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "serving.predictors", "--http_port", http_port, "--grpc_port", grpc_port]
    command += [word for name in (NAME, f"{NAME}-candidate") for word in ("--model", f"{name}={model_dir}")]
    with (places / "predictor.log").open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command), "--drain_seconds", "0"], cwd=ROOT, stdout=log, stderr=log
        )
    await_answer(PredictorClient(f"http://127.0.0.1:{http_port}", NAME), process)
    yield Models(versions, http_port)
    process.terminate()
    assert process.wait(120) == 0, (places / "predictor.log").read_text()[-3000:]


def await_answer(client: PredictorClient, process: subprocess.Popen) -> None:
    """A predictor takes half a minute to start where others have the cores."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(StoreError):
            client.metadata()
            return
        time.sleep(0.1)
    pytest.fail("the predictor does not answer")


@pytest.fixture(scope="module")
def smoke(places):
    """A folder with a photo to test with."""
    (places / "photos").mkdir()
    encoded = io.BytesIO()
    Image.fromarray(draw_photo([(0, 2), (1, 2), (2, 2), (5, 2), (1, 5)])).save(encoded, "PNG")
    (places / "photos/shelf.png").write_bytes(encoded.getvalue())
    return places / "photos"


@pytest.fixture
def quick(smoke):
    """Settings that wait for nothing but what has to happen."""
    return DeploySettings(smoke=smoke, watch_s=0, poll_s=0.01, ready_s=120)


@pytest.fixture
def start(cluster, models, kube_api):
    """Makes the objects of an overlay and starts their controllers; they end with the test."""
    running = []

    def start(mode="Standard", weighted=True, serve=True, autoscaler="none", pods=None, **predictor):
        if mode == "Knative":
            define_revisions(cluster)
        cluster.apply(runtime(), "kubectl")
        cluster.apply(runtime("stocktake-gpu"), "kubectl")
        cluster.apply(service(mode, autoscaler=autoscaler, **predictor), "kubectl")
        ports = dict.fromkeys(models.uris, models.port)
        controllers = Controllers(kube_api.connect(cluster.namespace), NAME, ports, weighted)
        running.append(controllers)
        if pods:
            controllers.scaled[f"{NAME}-predictor"] = pods
        if serve:  # the first model is there already, by a deploy of its own
            cluster.apply(service(mode, uri=models.uris[0]), "stocktake-deploy")
            controllers.settle()
        controllers.history.clear()
        return controllers

    yield start
    for each in running:
        each.close()


def service(mode: str, uri: str | None = None, autoscaler: str = "none", **predictor) -> dict:
    """The InferenceService as an overlay has it; with `uri` only what a deploy has added to it."""
    head = {"apiVersion": INFERENCE_SERVICE.api_version, "kind": INFERENCE_SERVICE.kind}
    if uri:
        spec = {"predictor": {"model": {"storageUri": uri}}}
        return {**head, "metadata": {"name": NAME}, "spec": spec}
    model = {"modelFormat": {"name": "stocktake", "version": "1"}, "runtime": "stocktake-gpu"}
    annotations = {"serving.kserve.io/deploymentMode": mode, "serving.kserve.io/autoscalerClass": autoscaler}
    metadata = {"name": NAME, "annotations": annotations}
    return {
        **head,
        "metadata": metadata,
        "spec": {"predictor": {"minReplicas": 1, **predictor, "model": model}},
    }


def runtime(name: str = "stocktake-cpu", image: str = "predictor:1") -> dict:
    return {
        "apiVersion": SERVING_RUNTIME.api_version,
        "kind": SERVING_RUNTIME.kind,
        "metadata": {"name": name},
        "spec": {
            "supportedModelFormats": [{"name": "stocktake", "version": "1"}],
            "containers": [{"name": "kserve-container", "image": image}],
        },
    }


def define_revisions(cluster: Cluster) -> None:
    cluster.apply(REVISIONS, "kubectl", force=True)
    while not is_listed(cluster, REVISION):
        time.sleep(0.02)


def expire(cluster: Cluster) -> None:
    """Time goes by: the lease of a deploy that is dead runs out."""
    lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": f"deploy-{NAME}"}}
    spec = {"renewTime": "2026-01-01T00:00:00.000000Z"}
    if cluster.get(LEASE, f"deploy-{NAME}"):
        cluster.apply({**lease, "spec": spec}, "time", force=True)


def record(cluster: Cluster):
    return read_record(cluster.get(LEASE, f"deploy-{NAME}"))


def check_that_requests_were_answered(controllers: Controllers) -> None:
    """At no time was a share of the requests sent to a model without a pod that is ready."""
    assert controllers.history
    for backends in controllers.history:
        assert sum(each.percent for each in backends) == 100, backends
        assert all(each.pods for each in backends), backends


WAYS = {
    "canary": {"minReplicas": 2},
    "autoscaled": {"minReplicas": 2, "autoscaler": "keda", "pods": 3},
    "revisions": {"mode": "Knative"},
    "direct": {"weighted": False},
}


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def pods_of(way: str) -> int:
    """How many pods a service has before and after a deploy."""
    return WAYS[way].get("pods") or WAYS[way].get("minReplicas", 1)


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


# Of a whole deploy, after the last of which it is done.
WRITES = {"canary": 11, "autoscaled": 13, "revisions": 9, "direct": 9}


@pytest.mark.long
def test_a_deploy_that_is_killed_anywhere_leaves_a_model_serving(way, cluster, start, models, quick):
    """Cut after each write to the API: a model serves; the next deploy is refused, a later one finishes."""
    controllers = start(**WAYS[way])
    old, new = models.uris
    cuts = 0
    while True:
        cuts += 1
        try:
            deploy(DyingCluster(cluster, cuts), models.versions[1], quick)
        except Killed:
            pass
        else:
            break
        backends = controllers.settle()
        check_that_requests_were_answered(controllers)
        main = max(backends)
        assert main.uri in (old, new)
        assert main.percent >= 90 or {each.uri for each in backends} == {old, new}
        if cuts == 4:
            with pytest.raises(ClusterError, match="deploys to it"):
                deploy(cluster, models.versions[1], quick)
        expire(cluster)
        assert deploy(cluster, models.versions[1], quick).outcome in ("deployed", "unchanged")
        assert controllers.settle()[0][:2] == (100, new)
        check_that_requests_were_answered(controllers)
        assert record(cluster).previous.uri == old
        back_to_the_old_model(cluster, controllers, models, quick)
        cluster.delete(LEASE, f"deploy-{NAME}")  # so that the next one writes as many times
    assert cuts - 1 == WRITES[way]


def read_holder(cluster: Cluster) -> str | None:
    found = cluster.get(LEASE, f"deploy-{NAME}") or {}
    return (found.get("spec") or {}).get("holderIdentity")


def back_to_the_old_model(cluster, controllers, models, quick) -> None:
    report = roll_back(cluster, NAME, quick)
    assert report.outcome == "rolled back"
    assert controllers.settle()[0][:2] == (100, models.uris[0])
    check_that_requests_were_answered(controllers)


@pytest.mark.long
def test_a_rollback_that_is_killed_anywhere_leaves_a_model_serving(way, cluster, start, models, quick):
    """Cut after each write of the way back from a candidate that is held, or from one that serves."""
    controllers = start(**WAYS[way])
    held = replace(quick, hold=True)
    cuts = 0
    while True:
        cuts += 1
        deploy(cluster, models.versions[1], held)
        try:
            roll_back(DyingCluster(cluster, cuts), NAME, quick)
        except Killed:
            pass
        else:
            break
        controllers.settle()
        check_that_requests_were_answered(controllers)
        expire(cluster)
        if record(cluster).candidate or record(cluster).previous:
            with suppress(ClusterError):  # it was as good as done
                roll_back(cluster, NAME, quick)
        assert controllers.settle()[0][:2] == (100, models.uris[0])
        check_that_requests_were_answered(controllers)
    assert cuts > 3


def let_an_hour_go_by(cluster: Cluster, controllers: Controllers, patch: pytest.MonkeyPatch) -> None:
    """Once, when there is a pod without a node, and the controllers have said all that they say of it."""
    gone = []

    def sleep(seconds: float) -> None:
        if not gone and any(each["status"].get("phase") == "Pending" for each in cluster.list(POD)):
            controllers.settle()
            gone.append(3600)
        time.sleep(seconds)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(gone), sleep=sleep)
    patch.setattr("stocktake.cluster.target.time", clock)


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


def test_a_rehearsal_needs_its_runtime(cluster, start, models, quick):
    controllers = start(weighted=False)
    cluster.delete(SERVING_RUNTIME, "stocktake-cpu")
    report = deploy(cluster, models.versions[1], quick)
    assert report.outcome == "rolled back"
    assert "there is no ServingRuntime stocktake-cpu" in report.reason
    controllers.settle()
    assert {backends for (backends,) in controllers.history} == {(100, models.uris[0], 1)}


def test_a_rehearsal_that_a_killed_deploy_has_left_is_deleted(cluster, start, models, quick):
    controllers = start(weighted=False)
    with pytest.raises(Killed):
        deploy(DyingCluster(cluster, 3), models.versions[1], quick)  # the Lease twice, then the rehearsal
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate")
    assert "shelf-detector-candidate" in predictors.rehearsals(Site(cluster)).found
    expire(cluster)
    said = []
    with pytest.raises(ClusterError, match="no candidate or model before it"):
        roll_back(cluster, NAME, quick, said.append)
    assert "shelf-detector-candidate is deleted" in " ".join(said)
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate") is None
    assert predictors.rehearsals(Site(cluster)).status is Status.OK
    assert controllers.settle() == [(100, models.uris[0], 1)]


def test_somebody_elses_service_is_no_rehearsal(cluster, start, models, quick):
    start(weighted=False)
    theirs = service("Standard")
    theirs["metadata"]["name"] = f"{NAME}-candidate"
    cluster.create(theirs)
    report = deploy(cluster, models.versions[1], quick)
    assert "shelf-detector-candidate is there: another deploy rehearses now, or it is" in report.reason
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate")


class Overtaken(Target):
    """In the hands of a deploy that is silent for too long, so that another one comes to its rehearsal."""

    def pause(self):
        expire(self.cluster)
        lease = DeployLease(self.cluster, self.live())
        lease.acquire()
        Deployment(Target(self.cluster, NAME, lease, "direct", 0.01), 60, print).clear_rehearsal()
        self.cluster.apply(rehearsal_service(self.live(), OTHER), "stocktake-deploy")
        super().pause()


OTHER = Served("s3://models/store/other/", f"models:/{NAME}/3")


def test_a_rehearsal_of_the_deploy_that_has_taken_over_stays(cluster):
    live = cluster.apply(service("Standard"), "kubectl")
    cluster.apply(runtime(), "kubectl")
    lease = DeployLease(cluster, live, seconds=1)
    lease.acquire()
    target = Overtaken(cluster, NAME, lease, "direct", 0.3)  # seconds, after which it is renewed
    trial = Trial(target, Terms(Path(), [], Limits(0, 0), 0, 10, 60), print)
    with pytest.raises(LeaseLost):
        trial.rehearse(Served("s3://models/store/ours/", f"models:/{NAME}/2"))
    kept = cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate")
    assert kept["spec"]["predictor"]["model"]["storageUri"] == OTHER.uri


def test_asking_a_predictor_keeps_the_lease(cluster, models):
    live = cluster.apply(service("Standard"), "kubectl")
    lease = DeployLease(cluster, live, seconds=1)
    lease.acquire()
    target = Target(cluster, NAME, lease, "direct", 0.01)
    url = f"http://127.0.0.1:{models.port}"
    (client,) = Trial(target, Terms(Path(), [], Limits(0, 0), 0, 10, 60, url), print)._clients("", NAME)
    first = renewed(cluster)
    while renewed(cluster) == first:
        client.metadata()


def renewed(cluster: Cluster) -> str:
    return cluster.get(LEASE, f"deploy-{NAME}")["spec"]["renewTime"]


def test_a_field_that_somebody_else_owns_is_not_taken(cluster, start, models, quick):
    start(weighted=False)
    cluster.apply(service("Standard", uri=models.uris[0]), "somebody", force=True)
    with pytest.raises(Conflict, match="somebody"):
        deploy(cluster, models.versions[1], quick)
    assert read_holder(cluster) is None


@pytest.mark.long
def test_the_real_program_is_killed_and_run_again(cluster, start, models, quick, capsys):
    controllers = start(**WAYS["canary"])
    command = [sys.executable, "-m", "pipelines", "deploy", NAME, "--smoke", str(quick.smoke)]
    process = subprocess.Popen(
        [*command, "--watch-seconds", "600"], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    assert any("10 % of the requests" in line for line in process.stdout)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert sorted(each.percent for each in controllers.settle()) == [10, 90]
    check_that_requests_were_answered(controllers)
    expire(cluster)
    assert main([*command[3:], "--watch-seconds", "0"]) == 0
    assert "shelf-detector: deployed: models:/shelf-detector/2" in capsys.readouterr().out
    assert controllers.settle() == [(100, models.uris[1], 2)]
    check_that_requests_were_answered(controllers)


def test_files_that_are_not_those_that_were_registered(cluster, start, models, quick, places):
    controllers = start(weighted=False)
    model_dir = write_model_dir(places / "damaged", score_threshold=0.3)
    version = register(model_dir, INDEX, figures(0.5, 0.5), "s3://models/store", NAME)
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

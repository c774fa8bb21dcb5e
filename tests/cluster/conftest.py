"""A real Kubernetes API, a namespace of each test's own; registry, bucket and predictor to deploy with."""

import io
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from stocktake.cluster.api import Cluster
from stocktake.cluster.deploy_settings import DeploySettings
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.errors import StoreError
from stocktake.registry import register
from stocktake.registry_gate import gate
from tests.cluster.deploys import NAME, Models, define_revisions, runtime, service
from tests.kserve_controller import Controllers
from tests.kube_api import KubeApi, crds
from tests.ports import free_ports
from tests.programs import ROOT, need
from tests.registry_data import figures, index_of
from tests.s3_server import S3Server
from tests.tiny_model import draw_photo, write_model_dir

FOREIGN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "AWS_SESSION_TOKEN", "AWS_REGION")


class Places(NamedTuple):
    """A folder, and the variables that name a bucket and a registry."""

    folder: Path
    variables: dict[str, str]

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        for name, value in self.variables.items():
            patch.setenv(name, value)


@pytest.fixture(scope="session")
def kube_api(request: pytest.FixtureRequest) -> KubeApi:
    """The server, with the definitions of STOCKTAKE_CRDS."""
    if not (definitions := crds()):
        pytest.skip("STOCKTAKE_CRDS names no folder of custom resource definitions")
    api: KubeApi = request.getfixturevalue("bare_kube_api")
    api.define(definitions)
    return api


@pytest.fixture
def cluster(kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A new namespace, which KUBECONFIG names too, as somebody who may do everything."""
    name = f"test-{secrets.token_hex(4)}"
    cluster = kube_api.connect(name)
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    monkeypatch.setenv("KUBECONFIG", str(kube_api.kubeconfig(namespace=name)))
    return cluster


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """A bucket and a registry."""
    folder = tmp_path_factory.mktemp("places")
    server = S3Server(need("minio"), folder)
    server.start()
    server.client().make_bucket("models")
    yield Places(
        folder,
        {
            "S3_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": server.key,
            "AWS_SECRET_ACCESS_KEY": server.secret,
            "STOCKTAKE_S3_RETRIES": "0",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        },
    )
    server.kill()


@pytest.fixture(scope="session")
def registered(places):
    """Two versions of a detector, and a predictor of the newer one under the names that it is asked by."""
    with pytest.MonkeyPatch.context() as patch:
        places.enter(patch)
        versions, index = [], index_of("a.jpg")
        for number, threshold in enumerate((0.5, 0.4)):
            model_dir = write_model_dir(places.folder / f"model{number}", score_threshold=threshold)
            scores = figures(0.8 + number / 10, 0.7)
            versions.append(register(model_dir, index, scores, "s3://models/store", NAME))
            gate(index, NAME)
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "serving.predictors", "--http_port", http_port, "--grpc_port", grpc_port]
    command += [word for name in (NAME, f"{NAME}-candidate") for word in ("--model", f"{name}={model_dir}")]
    with (places.folder / "predictor.log").open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command), "--drain_seconds", "0"], cwd=ROOT, stdout=log, stderr=log
        )
    _await_answer(PredictorClient(f"http://127.0.0.1:{http_port}", NAME), process)
    yield Models(versions, http_port)
    process.terminate()
    assert process.wait(120) == 0, (places.folder / "predictor.log").read_text()[-3000:]


@pytest.fixture
def models(registered, places, monkeypatch):
    """The versions; the environment names their registry and bucket."""
    places.enter(monkeypatch)
    return registered


@pytest.fixture(scope="session")
def smoke(places):
    """A folder with a photo to test with."""
    folder = places.folder / "photos"
    folder.mkdir()
    encoded = io.BytesIO()
    Image.fromarray(draw_photo([(0, 2), (1, 2), (2, 2), (5, 2), (1, 5)])).save(encoded, "PNG")
    (folder / "shelf.png").write_bytes(encoded.getvalue())
    return folder


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


def _await_answer(client: PredictorClient, process: subprocess.Popen) -> None:
    """A predictor takes half a minute to start where others have the cores."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(StoreError):
            client.metadata()
            return
        time.sleep(0.1)
    pytest.fail("the predictor does not answer")

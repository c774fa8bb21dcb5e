"""Tracking and registry against a real MLflow server, which also proxies the artefacts."""

import base64
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest

from stocktake import tracking
from stocktake.cluster.api import Cluster
from stocktake.doctor import machine, models, services
from stocktake.doctor.finding import Status
from stocktake.doctor.site import Site
from stocktake.errors import SettingsError
from stocktake.mlflow_server import configure
from stocktake.registry import champion, fetch_model, register
from stocktake.registry_gate import gate
from tests.ports import free_port
from tests.registry_data import figures, index_of, write_model

STARTUP_S = 180  # imports alone take half a minute on a busy machine without bytecode


class Server:
    """`mlflow server` on a loopback port, which can be killed and started again on its own data."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={self.port}"]
        command += [f"--backend-store-uri=sqlite:///{self.folder}/server.db", "--workers=1"]
        command += [f"--artifacts-destination={self.folder}/artifacts", "--allowed-hosts=127.0.0.1:*"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + STARTUP_S
        while not self._is_healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(
                    f"mlflow server did not start:\n{(self.folder / 'server.log').read_text()[-4000:]}"
                )
            time.sleep(0.1)

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def tracked(server, monkeypatch):
    for name in ("MLFLOW_RUN_ID", "MLFLOW_PARENT_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    configure()
    return server


def test_from_registration_to_champion_and_back_to_files(tracked, tmp_path):
    store, index = str(tmp_path / "store"), index_of("a.jpg")
    with tracking.start_run("pipeline", experiment="shelves") as run_id:
        tracking.log_table([{"iou": 0.3, "f1": 0.5}], "voids.json")
        first = register(write_model(tmp_path / "1", "first"), index, figures(0.5, 0.5), store)
        assert gate(index).promoted
    again = register(tmp_path / "1", index, figures(0.5, 0.5), store)
    second = register(write_model(tmp_path / "2", "second"), index, figures(0.4, 0.4), store)
    refused = gate(index)
    assert (first.version, again.version, second.version) == (1, 1, 2)
    assert not refused.promoted
    assert "0.4000 against 0.5000" in refused.reason
    assert champion() == first
    fetch_model("models:/shelf-detector@champion", tmp_path / "got")
    assert (tmp_path / "got" / "model.onnx").read_text() == "first"
    client = mlflow.MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    assert client.load_table(experiment, "voids.json")["f1"].tolist() == [0.5]
    assert not list(tracked.folder.rglob("model.onnx"))


def test_figures_of_other_photos_are_measured_again(tracked, tmp_path):
    store, name = str(tmp_path / "store"), "shelf-measured"
    register(write_model(tmp_path / "1", "first"), index_of("a.jpg"), figures(0.9, 0.9), store, name)
    assert gate(index_of("a.jpg"), name).promoted
    other = index_of("b.jpg")
    challenger = register(write_model(tmp_path / "2", "second"), other, figures(0.6, 0.6), store, name)
    assert gate(other, name, evaluate=lambda model_dir: figures(0.5, 0.5)).promoted
    assert champion(name) == challenger


@pytest.mark.long
def test_a_server_that_dies_in_training_costs_a_warning_and_no_epoch(tracked, caplog):
    with tracking.start_run("train", experiment="shelves") as run_id:
        tracking.log_metrics({"val/map50": 0.1}, step=0)
        tracked.kill()
        tracking.log_metrics({"val/map50": 0.2}, step=1)
        tracking.log_html("<p>lost</p>", "report.html")
        tracked.start()
        tracking.log_metrics({"val/map50": 0.3}, step=2)
    assert "failed 2 times" in caplog.text
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run_id, "val/map50")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.1), (1, 0.2), (2, 0.3)]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert len([record for record in caplog.records if "did not take" in record.message]) == 1


def test_a_host_that_the_server_refuses_says_what_to_change(tracked):
    with pytest.raises(SettingsError, match=r"http://localhost:\d+.*--allowed-hosts"):
        configure(f"http://localhost:{tracked.port}")


def told(**endpoints: str) -> Site:
    """A namespace whose pods are told these addresses; the environment says what is behind them."""
    site = Site(Cluster(None, "stocktake"))
    site.endpoints = endpoints
    return site


def test_the_doctor_sees_the_host_that_is_refused(tracked):
    assert machine.mlflow().status is Status.OK
    assert services.mlflow(told(MLFLOW_TRACKING_URI=tracked.uri)).status is Status.OK
    refused = services.mlflow(told(MLFLOW_TRACKING_URI="http://mlflow.tools.svc:5000"))
    assert refused.status is Status.FAIL
    assert "refuses its own name mlflow.tools.svc:5000" in refused.found
    assert "mlflow.tools.svc:*" in refused.mend


def test_the_doctor_sees_champions_that_are_missing_or_damaged(tracked, tmp_path, s3, store):
    site = told(MLFLOW_TRACKING_URI=tracked.uri, STOCKTAKE_STORE=store.uri, S3_ENDPOINT_URL=s3.url)
    values = {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret}
    site.secret = {"data": {name: base64.b64encode(text.encode()) for name, text in values.items()}}
    site.inference_services = [{"metadata": {"name": "shelf-served"}}]
    missing = models.champions(site)
    assert missing.status is Status.WARN
    assert "no version of shelf-served has the alias champion" in missing.found
    index = index_of("a.jpg")
    version = register(write_model(tmp_path / "1", "w"), index, figures(0.9, 0.9), store.uri, "shelf-served")
    assert gate(index, "shelf-served").promoted
    assert models.champions(site).found == f"shelf-served {version.digest[:12]}"
    store.put(f"models/shelf-served/{version.digest}/model.onnx", b"other")
    damaged = models.champions(site)
    assert damaged.status is Status.FAIL
    assert "model.onnx has another SHA-256 than SHA256SUMS says" in damaged.found
    store.put(f"models/shelf-served/{version.digest}/SHA256SUMS", b"other")
    assert "SHA256SUMS has another SHA-256 than the version" in models.champions(site).found

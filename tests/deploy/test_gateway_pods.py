"""The pods of gateway, worker and expiry, started here as a cluster would: their image is our environment."""

import os
import re
import secrets
import subprocess
import sys

import httpx
import pytest

from serving.gateway.access import Role, add_token
from tests.gateway_site import Process
from tests.kustomize import Objects, of_kind, overlay
from tests.pods import Object, pod_specs
from tests.ports import free_port
from tests.postgres_server import PostgresServer
from tests.programs import ROOT, need
from tests.redis_server import RedisServer
from tests.s3_server import S3Server

TOKENS = "/etc/stocktake/tokens"
NOBODY = ("shelf-detector-predictor.stocktake", "bin-counter-predictor.stocktake")
SYSTEM = {"PATH": os.environ["PATH"], "no_proxy": "*", "PYTHONPATH": f"{ROOT}/src:{ROOT}"}


@pytest.fixture(scope="module")
def postgres():
    """PostgreSQL with the databases that the chart makes, and the password of `gateway`."""
    server, password = PostgresServer(), secrets.token_hex(16)
    try:
        server.start()
        owner = {
            "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "mlflow", "PGDATABASE": "mlflow",
            "PGPASSWORD": server.password, "GATEWAY_DATABASE_PASSWORD": password,
        }  # fmt: skip
        script = ROOT / "charts/platform/files/databases.sql"
        command = [need("psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={script}"]
        subprocess.run(command, env=SYSTEM | owner, check=True, capture_output=True)
        yield server, password
    finally:
        server.stop()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """Redis, and its password."""
    password = secrets.token_hex(16)
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--requirepass", password)
    try:
        server.start()
        yield server, password
    finally:
        server.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    server = S3Server(need("minio"), tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        server.client().make_bucket("stocktake")
        yield server
    finally:
        server.kill()


class Pods:
    """The containers of the overlay `local`, with servers that are here in the place of the chart's."""

    def __init__(self, objects: Objects, places: dict[str, str], keys: dict[str, dict[str, str]]):
        makers = [made for made in objects if made["kind"] in ("Deployment", "CronJob")]
        pods = [pod for made in makers for pod in pod_specs(made)]
        self._containers = {each["name"]: each for pod in pods for each in pod["containers"]}
        self._endpoints = of_kind(objects, "ConfigMap")["endpoints"]["data"]
        self._places, self._keys = places, keys

    def start(self, name, folder, port):
        """One that answers where its readiness is asked for."""
        container = self._containers[name]
        arguments = [re.sub(r"^--port=\d+$", f"--port={port}", each) for each in container["args"]]
        ready = f"http://127.0.0.1:{port}{container['readinessProbe']['httpGet']['path']}"
        process = Process(folder, name, ["serving.gateway", *arguments], self.environment(name), ready)
        process.start(wait=False)
        return process

    def run(self, name):
        command = [sys.executable, "-m", "serving.gateway", *self._containers[name]["args"]]
        return subprocess.run(
            command, cwd=ROOT, env=SYSTEM | self.environment(name), capture_output=True, text=True
        )

    def environment(self, name) -> dict[str, str]:
        """As Kubernetes makes it: what is optional and not there is left out."""
        made: dict[str, str] = {}
        for entry in self._containers[name]["env"]:
            value = self._value(entry, made)
            if value is not None:
                for place, here in self._places.items():
                    value = value.replace(place, here)
                made[entry["name"]] = value
        return made

    def _value(self, entry: Object, made: dict[str, str]) -> str | None:
        if "value" in entry:
            return re.sub(r"\$\((\w+)\)", lambda found: made[found[1]], entry["value"])
        ((kind, source),) = entry["valueFrom"].items()
        if kind == "fieldRef":
            return "stocktake"
        held = self._endpoints if kind == "configMapKeyRef" else self._keys.get(source["name"], {})
        return held.get(source["key"]) if source.get("optional") else held[source["key"]]


@pytest.fixture(scope="module")
def pods(postgres, redis, store, tmp_path_factory):
    tokens = tmp_path_factory.mktemp("tokens")
    add_token(tokens / "tokens.yaml", "anna", Role.ADMIN)
    places = {
        "platform-postgresql.stocktake:5432": f"127.0.0.1:{postgres[0].port}",
        "platform-redis.stocktake:6379": f"127.0.0.1:{redis[0].port}",
        "platform-object-store.stocktake:8333": f"127.0.0.1:{store.port}",
        TOKENS: str(tokens),
        **dict.fromkeys(NOBODY, f"127.0.0.1:{free_port()}"),
    }
    keys = {
        "platform-gateway": {"password": postgres[1]}, "platform-redis": {"password": redis[1]},
        "s3-credentials": {"AWS_ACCESS_KEY_ID": store.key, "AWS_SECRET_ACCESS_KEY": store.secret},
    }  # fmt: skip
    return Pods(overlay("local"), places, keys)


def test_gateway_and_worker_start_side_by_side_and_what_is_old_expires(pods, tmp_path):
    """Both make the tables, at the same time and in an empty database."""
    ports, started = {"gateway": free_port(), "worker": free_port()}, []
    try:
        started = [pods.start(name, tmp_path, port) for name, port in ports.items()]
        for process in started:
            process.wait_until_ready()
        said = httpx.get(f"http://127.0.0.1:{ports['gateway']}/readyz").json()
        assert said == {
            "ready": True, "records": True, "photos": True, "queue": True, "shelves": False, "bins": False
        }  # fmt: skip
        figures = httpx.get(f"http://127.0.0.1:{ports['worker']}/metrics").text
        assert "stocktake_queue_photos" in figures
        done = pods.run("expire")
        assert (done.returncode, done.stdout.split(" of ")[0]) == (0, "deleted 0 files"), done.stderr
    finally:
        for process in started:
            process.kill()


def test_a_password_that_is_wrong_is_told_in_a_line(pods, monkeypatch):
    monkeypatch.setitem(pods._keys, "platform-gateway", {"password": "wrong"})
    done = pods.run("expire")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the records cannot be reached")

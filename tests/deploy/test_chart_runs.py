"""The commands, environments and scripts that the chart renders start the real servers."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.platform_chart import environment, find, pods, profile, render
from tests.ports import free_port
from tests.postgres_server import PostgresServer
from tests.programs import need
from tests.s3_server import S3Server

pytestmark = pytest.mark.long

HOST = "platform-mlflow.stocktake.svc.cluster.local:5000"
SEARCH = "/api/2.0/mlflow/experiments/search"


@pytest.fixture(scope="module")
def postgres():
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    server = S3Server(need("minio"), tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Release:
    """The pods of a release, whose containers run here: their images are our environment."""

    def __init__(self, values, secrets, folder):
        objects, self._secrets, self._folder = render(values), secrets, folder
        self.pods = {holder.partition("platform-")[2]: pod for holder, pod in pods(objects)}
        for name, text in find(objects, "ConfigMap", "scripts")["data"].items():
            (folder / name).write_text(text)

    def container(self, pod, kind="containers"):
        return self.pods[pod]["spec"][kind][0]

    def command(self, container):
        programs = {"python": [sys.executable], "mlflow": [sys.executable, "-m", "mlflow"]}
        program, *rest = container["command"] + container.get("args", [])
        return programs[program] + [each.replace("/scripts", str(self._folder)) for each in rest]

    def environment(self, container, **changes):
        system = {"PATH": os.environ["PATH"], "no_proxy": "*"}
        return system | environment(container, self._secrets) | changes

    def run(self, container, **changes):
        return subprocess.run(
            self.command(container),
            env=self.environment(container, **changes),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def release(postgres, store, tmp_path_factory):
    values = profile(
        "external",
        mlflow__workers=1,
        mlflow__database={
            "host": "127.0.0.1", "port": postgres.port, "sslMode": "disable", "existingSecret": "postgresql",
        },
        objectStore__endpoint=store.url,
    )  # fmt: skip
    credentials = {
        "postgresql": {"password": postgres.password},
        "s3-credentials": {"AWS_ACCESS_KEY_ID": store.key, "AWS_SECRET_ACCESS_KEY": store.secret},
    }
    return Release(values, credentials, tmp_path_factory.mktemp("scripts"))


@pytest.fixture(scope="module")
def database(release, postgres):
    """MLflow's tables, made by the init container, which waits while another pod has the lock."""
    container = release.container("mlflow", "initContainers")
    with postgres.connect().cursor() as other:
        other.execute("select pg_advisory_lock(7266)")
        waiting = subprocess.Popen(
            release.command(container),
            env=release.environment(container),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while waiting.poll() is None:
            other.execute("select exists(select 1 from pg_locks where locktype = 'advisory' and not granted)")
            if other.fetchone()[0]:
                break
            time.sleep(0.05)
        other.execute("select to_regclass('experiments') is null and pg_advisory_unlock(7266)")
        assert other.fetchone()[0], "it did not wait"
    output, _ = waiting.communicate(timeout=300)
    assert waiting.returncode == 0, output
    return postgres


@pytest.fixture(scope="module")
def mlflow(release, database, store, tmp_path_factory):
    """The server, at a port of its own: its URL."""
    assert release.run(release.container("buckets")).returncode == 0
    container, port = release.container("mlflow"), free_port()
    here = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    command = [here.get(each, each) for each in release.command(container)]
    assert f"--port={port}" in command
    log = tmp_path_factory.mktemp("mlflow") / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=release.environment(container),
            cwd="/",
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        probe = container["startupProbe"]
        deadline = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
        url = f"http://127.0.0.1:{port}"
        while not healthy(url + probe["httpGet"]["path"]):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def healthy(url):
    try:
        request = urllib.request.Request(url, headers={"Host": "10.1.2.3:5000"})  # as the kubelet asks
        with urllib.request.urlopen(request, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def search(url, **headers):
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(
        url + SEARCH, data=json.dumps({"max_results": 1}).encode(), headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": HOST}, 200),
        ({"Host": "platform-mlflow.stocktake:5000"}, 200),
        ({"Host": "localhost:5000"}, 200),
        ({"Host": "mlflow.example.com"}, 200),
        ({"Host": "mlflow.example.com", "Origin": "https://mlflow.example.com"}, 200),
        ({"Host": "mlflow.example.com", "Origin": "https://attacker.example"}, 403),
        ({"Host": "attacker.example"}, 403),
        ({"Host": "platform-mlflow.attacker.example:5000"}, 403),
    ],
    ids=lambda each: " ".join(each.values()) if isinstance(each, dict) else str(each),
)
def test_mlflow_answers_to_its_own_names_and_to_no_other(mlflow, headers, status):
    assert search(mlflow, **headers) == status


def test_helm_test_finds_mlflow_in_order(mlflow, release):
    done = release.run(release.container("test-mlflow"), MLFLOW_TRACKING_URI=mlflow)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as it should be") == 6


def test_helm_test_finds_the_store_in_order(mlflow, release):
    done = release.run(release.container("test-object-store"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"bucket {name}: written, read, closed to strangers" for name in ("mlflow", "stocktake")
    ]


def test_buckets_are_made_once(mlflow, release, store):
    done = release.run(release.container("buckets"))
    assert done.stdout.splitlines() == ["bucket mlflow: is there", "bucket stocktake: is there"]
    assert {each.name for each in store.client().list_buckets()} == {"mlflow", "stocktake"}


def test_wrong_credentials_are_told_in_a_line(store, release):
    done = release.run(release.container("buckets"), AWS_SECRET_ACCESS_KEY="wrong")
    assert done.returncode == 1
    assert "bucket mlflow: An error occurred (403)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_holds_runs_is_not_migrated_unasked(mlflow, release, database):
    body = json.dumps({"experiment_id": "0"}).encode()
    headers = {"Content-Type": "application/json"}
    create = urllib.request.Request(f"{mlflow}/api/2.0/mlflow/runs/create", data=body, headers=headers)
    urllib.request.urlopen(create, timeout=30).close()
    container = release.container("mlflow", "initContainers")
    with database.connect().cursor() as cursor:
        cursor.execute("select version_num from alembic_version")
        (revision,) = cursor.fetchone()
        cursor.execute("update alembic_version set version_num = 'older'")
        done = release.run(container)
        cursor.execute("update alembic_version set version_num = %s", (revision,))
    assert done.returncode == 1
    assert f"is at revision older; this MLflow wants {revision}. Take a backup" in done.stderr


def test_a_database_that_refuses_is_told_in_a_line(postgres, release):
    done = release.run(release.container("mlflow", "initContainers"), PGPASSWORD="wrong")
    assert done.returncode == 1
    assert "no database at postgresql+psycopg2://mlflow@127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_redis_takes_jobs_from_those_who_know_the_password(tmp_path):
    need("redis-server")
    objects, password = render(profile("in-cluster")), secrets.token_hex(16)
    host = "127." + ".".join(str(secrets.randbelow(254) + 1) for _ in range(3))
    configuration = find(objects, "ConfigMap", "redis")["data"]["redis.conf"]
    assert "dir /data\n" in configuration
    (tmp_path / "redis.conf").write_text(
        configuration.replace("dir /data\n", f"dir {tmp_path}\nbind {host}\n")
    )
    containers = {holder: pod["spec"]["containers"][0] for holder, pod in pods(objects)}
    server, test = containers["StatefulSet/platform-redis"], containers["Pod/platform-test-redis"]
    known = {"PATH": os.environ["PATH"], **environment(server, {"platform-redis": {"password": password}})}
    command = [each.replace("/etc/redis", str(tmp_path)) for each in server["command"]]
    process = subprocess.Popen(command, env=known, stdout=subprocess.DEVNULL)
    try:
        ask = [each.replace("platform-redis", host) for each in test["command"]]
        deadline = time.monotonic() + 120
        while (done := subprocess.run(ask, env=known, capture_output=True, text=True)).returncode:
            assert process.poll() is None
            assert time.monotonic() < deadline, done.stdout + done.stderr
            time.sleep(0.05)
        stranger = subprocess.run(["redis-cli", "-h", host, "ping"], capture_output=True, text=True)
        assert "NOAUTH" in stranger.stdout + stranger.stderr
        assert password not in (tmp_path / "redis.conf").read_text()
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        kept = subprocess.run(
            ["redis-cli", "-h", host, "config", "get", "maxmemory*"],
            env=known,
            capture_output=True,
            text=True,
        )
        assert "noeviction" in kept.stdout
        assert str(384 * 1024 * 1024) in kept.stdout
    finally:
        process.terminate()
        process.wait()

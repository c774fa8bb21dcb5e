"""A real S3 server on the loopback device, with credentials of its own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from minio import Minio
from minio.error import MinioException

from stocktake.settings import Settings, load_settings
from stocktake.storage import Store, open_store

MINIO = Path(__file__).parents[2] / ".services/bin/minio"


class S3Server:
    """MinIO over one folder. It can be killed and started again at the same address."""

    def __init__(self, binary: str, folder: Path):
        self._binary, self._folder = binary, folder
        self.key, self.secret = secrets.token_hex(8), secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **os.environ,
            "MINIO_ROOT_USER": self.key,
            "MINIO_ROOT_PASSWORD": self.secret,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",  # asks the network otherwise
            "GOMAXPROCS": "2",
        }
        command = [
            self._binary,
            "server",
            "--quiet",
            "--address",
            f"127.0.0.1:{self.port}",
            str(self._folder / "data"),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.client().list_buckets()  # "ready" of its health page comes earlier
                return
            except (MinioException, urllib3.exceptions.HTTPError):
                time.sleep(0.05)
        raise RuntimeError(f"MinIO did not start: {(self._folder / 'server.log').read_text()[-2000:]}")

    def client(self) -> Minio:
        """A client that fails at once: a server that is starting asks for a minute's patience."""
        http = urllib3.PoolManager(retries=False, timeout=10)
        return Minio(f"127.0.0.1:{self.port}", self.key, self.secret, secure=False, http_client=http)

    def kill(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def settings(self, **overrides: object) -> Settings:
        return load_settings(
            s3_endpoint_url=self.url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            **overrides,
        )


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    binary = str(MINIO) if MINIO.is_file() else shutil.which("minio")
    if binary is None:
        reason = "there is no MinIO binary; `make services` builds one"
        if os.environ.get("STOCKTAKE_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    server = S3Server(binary, tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, which the environment names too."""
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "STOCKTAKE_S3_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("S3_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new empty bucket."""
    name = f"test-{secrets.token_hex(6)}"
    s3.client().make_bucket(name)
    return name


@pytest.fixture
def store(bucket: str) -> Store:
    return open_store(f"s3://{bucket}/some/prefix")

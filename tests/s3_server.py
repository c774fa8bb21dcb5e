"""A real S3 server on the loopback device, with credentials of its own; for tests and benchmarks."""

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from stocktake.settings import Settings, load_settings
from tests.ports import free_port


class S3Server:
    """MinIO over one folder. It can be killed and started again at the same address."""

    def __init__(self, binary: str, folder: Path):
        self._binary, self._folder = binary, folder
        self.key, self.secret = secrets.token_hex(8), secrets.token_hex(16)
        self.port = free_port()
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
        http = urllib3.PoolManager(retries=False, timeout=60)
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

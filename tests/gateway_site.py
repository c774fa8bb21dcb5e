"""The processes of a gateway on the loopback device, each of which can be killed and started again."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from serving.gateway.access import Role, add_token
from tests import tiny_counter
from tests.ports import free_ports
from tests.redis_server import RedisServer
from tests.tiny_model import write_model_dir

ROOT = Path(__file__).parents[1]
READY_S = 180.0


def encode_png(pixels: np.ndarray) -> bytes:
    """A file of a photo, (H, W, 3) uint8."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


class Process:
    """`python -m …` with a log."""

    def __init__(
        self, folder: Path, name: str, arguments: Sequence[str], env: Mapping[str, str], ready_url: str
    ):
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", *arguments]
        self._env = {**os.environ, **env}
        self._ready_url = ready_url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=output, stderr=subprocess.STDOUT
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if httpx.get(self._ready_url, timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def terminate(self) -> int | None:
        """Ask it to end, and wait until it has; returns its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> int | None:
        if self.process is None:
            return None
        self.process.send_signal(signum)
        status = self.process.wait(120)
        self.process = None
        return status


class Site:
    """Redis, a predictor of both tasks, the gateway and a worker."""

    def __init__(self, folder: Path, detector: Path | None = None, **settings: object):
        """`detector`: its model dir, the tiny one where it is None; `settings`: of the gateway, by field."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.redis = RedisServer(folder / "redis")
        http, grpc, gateway, worker = free_ports(4)
        models = {
            "shelf-detector": detector or write_model_dir(folder / "shelves"),
            "bin-counter": tiny_counter.write_model_dir(folder / "bins"),
        }
        self.predictor_url = f"http://127.0.0.1:{http}"
        self.url = f"http://127.0.0.1:{gateway}"
        self.settings = {
            "database": f"sqlite:///{folder}/records.db",
            "photos": str(folder / "photos"),
            "redis": self.redis.url,
            "tokens": str(folder / "tokens.yaml"),
            "shelves_url": self.predictor_url,
            "bins_url": self.predictor_url,
            **settings,
        }
        self.token = add_token(folder / "tokens.yaml", "client", Role.ADMIN, None)
        env = {f"STOCKTAKE_GATEWAY_{name.upper()}": str(value) for name, value in self.settings.items()}
        named = [f"--model={name}={model_dir}" for name, model_dir in models.items()]
        ports = [f"--http_port={http}", f"--grpc_port={grpc}"]
        self.predictor = Process(
            folder, "predictor", ["serving.predictors", *named, *ports], {},
            f"{self.predictor_url}/v2/health/ready",
        )  # fmt: skip
        self.gateway = Process(
            folder, "gateway", ["serving.gateway", "serve", f"--port={gateway}"], env, f"{self.url}/healthz"
        )
        self.worker = Process(
            folder, "worker", ["serving.gateway", "worker", f"--port={worker}"], env,
            f"http://127.0.0.1:{worker}/healthz",
        )  # fmt: skip

    def stop(self) -> None:
        for part in (self.worker, self.gateway, self.predictor, self.redis):
            part.kill()

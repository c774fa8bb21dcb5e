import contextlib
import io
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from PIL import Image

from tests import tiny_counter
from tests.ports import free_ports
from tests.serving.wire import connect
from tests.tiny_model import draw_photo, write_model_dir

ROOT = Path(__file__).parents[2]
NAME, BINS = "shelf-detector", "bin-counter"


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    http_port: int
    grpc_port: int
    log: Path
    trusts: ssl.SSLContext | None = None  # whose certificates; no TLS without

    @property
    def url(self):
        return f"{'https' if self.trusts else 'http'}://127.0.0.1:{self.http_port}"

    @property
    def grpc(self):
        return f"127.0.0.1:{self.grpc_port}"


@contextlib.contextmanager
def serve(log, *arguments, trusts=None):
    """A predictor in a process of its own, from ready to SIGTERM."""
    http_port, grpc_port = free_ports(2)
    # importtime writes every module that is imported into the log
    command = [sys.executable, "-X", "importtime", "-m", "serving.predictors", *map(str, arguments)]
    command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    server = Server(process, http_port, grpc_port, log, trusts)
    try:
        _wait_until_ready(server)
        yield server
        process.terminate()
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(server, seconds=180):
    deadline = time.monotonic() + seconds
    verify = server.trusts or True
    while time.monotonic() < deadline:
        assert server.process.poll() is None, f"the server ended:\n{server.log.read_text()[-3000:]}"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/v2/health/ready", verify=verify).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the server is not ready after {seconds} s:\n{server.log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def model_dirs(tmp_path_factory):
    """A detector, one that takes about a second for a photo, and a bin counter."""
    folder = tmp_path_factory.mktemp("models")
    return {
        NAME: write_model_dir(folder / "quick"),
        "slow": write_model_dir(folder / "slow", delay=40, name="slow"),
        BINS: tiny_counter.write_model_dir(folder / "bins"),
    }


@pytest.fixture(scope="session")
def server(model_dirs, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    arguments = ["--model_name", NAME, "--model_dir", model_dirs[NAME]]
    for name in ("slow", BINS):
        arguments += ["--model", f"{name}={model_dirs[name]}"]
    with serve(log, *arguments, "--threads", 2) as server:
        yield server


@pytest.fixture(scope="module")
def connection(server):
    """One connection for all requests of a module: it fails where the server has closed it."""
    connection = connect(server.http_port)
    yield connection
    connection.close()


@pytest.fixture
def silent():
    """Makes streams of gRPC messages that do not come."""
    ended = threading.Event()

    def messages_to_come():
        ended.wait()
        yield from ()

    yield messages_to_come
    ended.set()


@pytest.fixture(scope="session")
def light_server():
    """A server in this process, around a model that looks at nothing."""
    from tests.serving.light_server import LightServer

    server = LightServer()
    yield server
    server.close()


@pytest.fixture
def light(light_server):
    """The same, as it was before the test."""
    yield light_server
    light_server.reset()


@pytest.fixture
def light_connection(light):
    """A connection to it that fails where the server has closed it."""
    connection = connect(light.http_port)
    yield connection
    connection.close()


@pytest.fixture
def light_channel(light):
    """For gRPC calls to it."""
    with grpc.insecure_channel(light.grpc) as channel:
        yield channel


@pytest.fixture
def light_stub(light_channel):
    """Its methods over gRPC."""
    return GRPCInferenceServiceStub(light_channel)


@pytest.fixture(scope="session")
def detector(model_dirs):
    """The same model without a server."""
    from stocktake.shelf.detector import ShelfDetector

    return ShelfDetector.load(model_dirs[NAME], threads=1)


@pytest.fixture(scope="session")
def counter(model_dirs):
    """The same bin counter without a server."""
    from stocktake.bins.counter import BinCounter

    return BinCounter.load(model_dirs[BINS], threads=1)


@pytest.fixture(scope="session")
def bins():
    """Encoded photos of 1, 2 and 5 items, and of something between 3 and 4."""
    return [encode(tiny_counter.draw_bin(items), "PNG") for items in (1, 2, 5, 3.5)]


def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photos():
    """Encoded photos: a gap, one to be turned by EXIF, a blank one, and others in other formats."""
    sideways = Image.Exif()
    sideways[0x0112] = 6
    shelf = [(0, 2), (1, 2), (2, 2), (5, 2), (6, 2), (1, 5)]
    return {
        "shelf": encode(draw_photo(shelf), "PNG"),
        "turned": encode(np.ascontiguousarray(np.rot90(draw_photo(shelf, 128, 96))), "JPEG", exif=sideways),
        "blank": encode(draw_photo([]), "JPEG"),
        "webp": encode(draw_photo([(3, 3)]), "WEBP", lossless=True),
    }

"""What the predictor image holds, made by the image's own script, and nothing else: it serves both models."""

import contextlib
import subprocess
import time
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from tests import image_environment, tiny_counter
from tests.image_environment import clean, run
from tests.ports import free_ports
from tests.serving.clients import ask
from tests.serving.conftest import encode
from tests.tiny_model import draw_photo, write_model_dir

TRAINING = ("torch", "torchvision", "ultralytics", "kfp", "mlflow", "nncf", "onnx", "optuna")
LEFT_OUT = ("pip", "pyarrow", "minio", "pandas", "kubernetes", "grpc_tools", "openvino_telemetry")
pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]  # it downloads some hundred MB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With `environment` and `app`, which are /opt/stocktake and /app in the image of predictor-cpu."""
    lists = ("predictor.without", "predictor-cpu.without")
    return image_environment.make(tmp_path_factory.mktemp("image"), "predictor", "predictors", *lists)


@contextlib.contextmanager
def serving(folder, log, *arguments):
    """A predictor of the image, from ready to the end of the block."""
    http_port, grpc_port = free_ports(2)
    command = [folder / "environment/bin/python", "-m", "serving.predictors", *arguments]
    command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port)]
    url = f"http://127.0.0.1:{http_port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder / "app", stdout=output, stderr=subprocess.STDOUT, env=clean()
        )
    try:
        deadline = time.monotonic() + 300
        while not _is_ready(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield SimpleNamespace(url=url, grpc=f"127.0.0.1:{grpc_port}")
        process.terminate()
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def _is_ready(url):
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_it_has_no_training_code_and_nothing_that_is_left_out(folder):
    code = "import sys, importlib.util as u; print([name for name in sys.argv[1:] if u.find_spec(name)])"
    assert run(folder, "-c", code, *TRAINING, *LEFT_OUT, "stocktake.tuning") == "[]\n"
    where = run(folder, "-c", "import stocktake; print(stocktake.__file__)")
    assert where.startswith(str(folder / "app")), "the one that was installed, not the checkout"


def test_its_bytecode_is_compiled_and_stays_valid_wherever_it_is_copied(folder):
    code = """
import importlib.util, stocktake.shelf.detector, serving.predictors.settings, numpy
for module in (stocktake.shelf.detector, serving.predictors.settings, numpy):
    flags = open(importlib.util.cache_from_source(module.__file__), "rb").read(8)[4:]
    print(int.from_bytes(flags, "little"))
"""
    assert run(folder, "-B", "-c", code).split() == ["1"] * 3, "PEP 552: by hash, and not checked"


def test_it_serves_both_models_over_rest_and_grpc(folder, tmp_path):
    log = tmp_path / "server.log"
    models = {
        "shelf-detector": write_model_dir(tmp_path / "shelves"),
        "bin-counter": tiny_counter.write_model_dir(tmp_path / "bins"),
    }
    named = [argument for name, folder in models.items() for argument in ("--model", f"{name}={folder}")]
    with serving(folder, log, *named, "--threads", "1") as server:
        for way in ("rest-binary", "grpc-raw"):
            found = ask(
                server, [encode(draw_photo([(2, 3), (5, 6)]), "PNG")], way, outputs=["boxes", "scores"]
            )
            assert sorted(map(tuple, found["boxes"].tolist())) == [(32, 48, 48, 64), (80, 96, 96, 112)]
            np.testing.assert_allclose(found["scores"], 1.0, atol=1e-3)
            bins = [encode(tiny_counter.draw_bin(items), "PNG") for items in (2, 5)]
            counted = ask(server, bins, way, model="bin-counter", quantities=[2, 4])
            assert counted["count"].tolist() == [2, 5]
            said = counted["verdict"]  # text in JSON, bytes otherwise
            assert [one if isinstance(one, str) else one.decode() for one in said] == ["accept", "reject"]
            assert counted["match_probability"][0] > 0.9 > 0.1 > counted["match_probability"][1]
    assert "is run by openvino on cpu in fp32" in log.read_text()


def test_nothing_of_it_reaches_the_network_when_it_loads(folder, tmp_path):
    code = """
import socket, sys

def refuse(*_):
    print("reached out")
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
from stocktake.shelf.detector import ShelfDetector
print(ShelfDetector.load(sys.argv[1], threads=1).runner.engine)
"""
    assert run(folder, "-c", code, write_model_dir(tmp_path / "model")) == "openvino\n"

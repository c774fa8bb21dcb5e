"""The predictor extra, and nothing else, in an environment of its own: it serves both models."""

import contextlib
import os
import shutil
import subprocess
import time
import venv
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from tests import tiny_counter
from tests.ports import free_ports
from tests.serving.clients import ask
from tests.serving.conftest import ROOT, encode
from tests.tiny_model import draw_photo, write_model_dir

TRAINING = ("torch", "torchvision", "ultralytics", "kfp", "mlflow", "nncf", "onnx", "optuna")
NO_INDEX = ("NewConnectionError", "Temporary failure in name resolution", "Connection refused", "ReadTimeout")
pytestmark = pytest.mark.timeout(1800)  # it downloads some hundred MB


def environment():
    """Ours, without what would let the fresh one see our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with stocktake[predictor]."""
    folder = tmp_path_factory.mktemp("environment")
    source = folder / "source"  # setuptools leaves its build beside pyproject.toml
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    command = [python, "-m", "pip", "install", "--quiet", "--retries", "2", "--constraint"]
    done = subprocess.run(
        [*command, ROOT / "constraints.txt", f"{source}[predictor]"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    if done.returncode and any(sign in done.stdout + done.stderr for sign in NO_INDEX):
        reason = "no package index can be reached, so the predictor extra cannot be installed"
        if os.environ.get("STOCKTAKE_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    assert done.returncode == 0, done.stderr[-3000:]
    return python


def run(python, *arguments):
    done = subprocess.run([python, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def serving(python, log, *arguments):
    """A predictor of the fresh environment, from ready to the end of the block."""
    http_port, grpc_port = free_ports(2)
    command = [python, "-m", "serving.predictors", *arguments]
    command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port)]
    url = f"http://127.0.0.1:{http_port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment()
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


def test_it_has_no_training_code(python):
    code = "import sys, importlib.util as u; print([name for name in sys.argv[1:] if u.find_spec(name)])"
    assert run(python, "-c", code, *TRAINING) == "[]\n"
    assert run(python, "-m", "pip", "check") == "No broken requirements found.\n"
    where = run(python, "-c", "import stocktake; print(stocktake.__file__)")
    assert where.startswith(str(python.parents[1])), "the one that was installed, not the checkout"


def test_it_serves_both_models_over_rest_and_grpc(python, tmp_path):
    log = tmp_path / "server.log"
    models = {
        "shelf-detector": write_model_dir(tmp_path / "shelves"),
        "bin-counter": tiny_counter.write_model_dir(tmp_path / "bins"),
    }
    named = [argument for name, folder in models.items() for argument in ("--model", f"{name}={folder}")]
    with serving(python, log, *named, "--threads", "1") as server:
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


def test_nothing_of_it_reaches_the_network_when_it_loads(python, tmp_path):
    code = """
import socket, sys

def refuse(*_):
    print("reached out")
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
from stocktake.shelf.detector import ShelfDetector
print(ShelfDetector.load(sys.argv[1], threads=1).runner.engine)
"""
    assert run(python, "-c", code, write_model_dir(tmp_path / "model")) == "openvino\n"

"""What the gateway image holds, made by the image's own script, and nothing else: it serves its pages."""

import subprocess
import time

import httpx
import pytest

from tests import image_environment
from tests.gateway.test_pictures import WITHOUT_OPENCV
from tests.image_environment import run
from tests.ports import free_ports

GOAL = 250e6  # bytes, unpacked
LEFT_OUT = (
    "pip",
    "cv2",
    "pyarrow",
    "torch",
    "kserve",
    "grpc",
    "onnxruntime",
    "openvino",
    "serving.predictors",
)
pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]  # it downloads some ninety MB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With `environment` and `app`, which are /opt/stocktake and /app in the image."""
    return image_environment.make(tmp_path_factory.mktemp("image"), "gateway", "gateway", "gateway.without")


def test_it_is_small_and_has_nothing_that_is_left_out(folder):
    size = subprocess.check_output(
        ["du", "-s", "--apparent-size", "-B1", "environment", "app"], cwd=folder, text=True
    )
    assert sum(int(line.split()[0]) for line in size.splitlines()) < GOAL, size
    code = "import sys, importlib.util as u; print([name for name in sys.argv[1:] if u.find_spec(name)])"
    assert run(folder, "-c", code, *LEFT_OUT) == "[]\n"


def test_all_of_its_modules_can_be_imported_and_pictures_drawn(folder, tmp_path):
    photo = tmp_path / "photo.jpg"
    code = "from PIL import Image; import sys; Image.new('RGB', (160, 120), 'grey').save(sys.argv[1])"
    run(folder, "-c", code, photo)
    code = f"import sys; sys.stdin = open(sys.argv[1])\n{WITHOUT_OPENCV}"
    run(folder, "-c", code, photo)


def test_it_answers(folder, tmp_path):
    (port,) = free_ports(1)
    places = {"DATABASE": f"sqlite:///{tmp_path}/records.db", "PHOTOS": tmp_path / "photos"}
    places |= {"TOKENS": tmp_path / "tokens.yaml"}
    environment = {f"STOCKTAKE_GATEWAY_{name}": str(place) for name, place in places.items()}
    command = [folder / "environment/bin/python", "-m", "serving.gateway", "serve", "--port", str(port)]
    log, url = tmp_path / "gateway.log", f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder / "app",
            env={**image_environment.clean(), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        for page in ("/sign-in", "/metrics", "/api/openapi.json"):
            assert httpx.get(url + page).status_code == 200
    finally:
        process.terminate()
        process.wait()


def _answers(url):
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False

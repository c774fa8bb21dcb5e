"""`make up` for real: its processes, with tiny models, asked through the gateway, and gone at the end."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from PIL import Image

from serving.up.__main__ import _parser
from serving.up.__main__ import main as up
from serving.up.variables import GATEWAY, absent, variables
from tests import tiny_counter
from tests.programs import need
from tests.tiny_model import draw_photo, write_model_dir

ROOT = Path(__file__).parents[2]
WITHIN_S = 180


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [
        f"--shelves={write_model_dir(folder / 'shelves')}",
        f"--bins={tiny_counter.write_model_dir(folder / 'bins')}",
    ]


@contextlib.contextmanager
def running(data: Path, *flags: str) -> Iterator[SimpleNamespace]:
    """`python -m serving.up`, from ready to its end; whatever it left is ended and told."""
    command = [sys.executable, "-m", "serving.up", "--data", str(data), "--port=0", "--mlflow-port=0"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_GATEWAY_")
    }
    with (data.parent / "log").open("ab") as log:
        process = psutil.Popen([*command, *flags], cwd=ROOT, stdout=log, stderr=log, env=environment)
    try:
        wait(lambda: (data / "up.json").exists() or not process.is_running(), process, data)
        where = json.loads((data / "up.json").read_text())
        yield SimpleNamespace(**where, process=process, log=lambda: (data.parent / "log").read_text())
    finally:
        family = process.children(recursive=True) if process.is_running() else []
        for each in (process, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def wait(condition, process, data: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert process.poll() is None, (data.parent / "log").read_text()[-3000:]
        assert time.monotonic() < deadline, (data.parent / "log").read_text()[-3000:]
        time.sleep(0.1)


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.long
def test_photos_are_answered_at_once_and_from_the_queue_and_nothing_stays_behind(tmp_path, models):
    need("redis-server")
    data = tmp_path / "up"
    with running(data, *models, f"--mlflow-database={tmp_path}/mlflow.db") as here:
        family = here.process.children(recursive=True)
        commands = [" ".join(one.cmdline()) for one in family]
        for part in (
            "redis-server",
            "serving.predictors",
            "gateway serve",
            "gateway worker",
            "mlflow server",
        ):
            assert sum(part in command for command in commands if "serving.up" not in command) >= 1, part
        assert here.token in here.log()
        header = {"Authorization": f"Bearer {here.token}"}
        with httpx.Client(base_url=here.url, headers=header, timeout=60) as client:
            page = client.get("/sign-in")
            assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            photo = {"photo": ("shelf.png", png(draw_photo([(2, 3), (5, 6)])))}
            about = {"task": "shelves", "store": "s1", "bay": "b1", "camera": "c1"}
            found = client.post("/api/photos", files=photo, data=about)
            assert found.status_code == 200, found.text
            assert found.json()["state"] == "done"
            assert found.json()["report"]["products"] == 2
            bins = [("photos", (f"{n}.png", png(tiny_counter.draw_bin(n)))) for n in (2, 5)]
            job = client.post("/api/jobs", files=bins, data={"task": "bins", "store": "s1"})
            assert job.status_code == 202, job.text
            link = f"/api/jobs/{job.json()['id']}"
            wait(lambda: client.get(link).json()["state"] == "done", here.process, data)
            assert sorted(one["count"] for one in client.get(link).json()["photos"]) == [2, 5]
        here.process.send_signal(signal.SIGINT)
        assert here.process.wait(WITHIN_S) == 0
        assert [one for one in family if one.is_running()] == []
    assert not (data / "up.json").exists()
    for name in ("redis.conf", "predictor.token", "tokens.yaml"):
        assert (data / name).stat().st_mode & 0o077 == 0, name
    assert list((data / "redis").rglob("*.aof")), "what was in the queue is still there at the next start"


def test_without_a_model_it_says_what_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"shelves: .*`make demo` first.*; bins: .*`make demo-bins` first"):
        up(["--data", str(tmp_path / "up"), "--port", "0"])


def test_a_port_that_is_taken_is_named(tmp_path, models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"--port {port}: Address already in use"):
            up(["--data", str(tmp_path / "up"), "--port", str(port), *models])


def test_a_token_of_the_predictor_that_is_set_is_the_one_it_asks_for(tmp_path, models, monkeypatch):
    args = _parser().parse_args(["--port=0", "--mlflow-port=0", *models])
    name = f"{GATEWAY}PREDICTOR_TOKEN"
    for given in ("mine", ""):  # none where it is empty: the gateway takes no such variable for one
        monkeypatch.setenv(name, given)
        environment = variables(args, tmp_path, ("redis", "mlflow"))
        asked_for = (tmp_path / "predictor.token").read_text()
        assert asked_for == environment[name]
        assert asked_for == given if given else len(asked_for) == 64


def test_a_redis_that_is_set_is_not_started_once_more(tmp_path, models, monkeypatch):
    monkeypatch.setenv(f"{GATEWAY}REDIS", "redis://elsewhere:6379/0")
    assert list(absent()) == ["redis"]
    args = _parser().parse_args(["--port=0", "--mlflow-port=0", *models])
    assert variables(args, tmp_path, absent())[f"{GATEWAY}REDIS"] == "redis://elsewhere:6379/0"
    assert not (tmp_path / "redis.conf").exists()


def test_two_do_not_share_a_folder(tmp_path, models):
    (tmp_path / "lock").touch()
    code = "import fcntl, sys; f=open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", code, tmp_path / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(SystemExit, match="another one runs there"):
            up(["--data", str(tmp_path), "--port", "0", *models])
        other.communicate(b"\n")

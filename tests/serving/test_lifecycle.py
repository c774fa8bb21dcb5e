"""A server that takes another model, and one that ends, while clients ask."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving.predictors.lifecycle import wait_for_signal
from serving.predictors.repository import PredictorRepository
from tests.serving.conftest import NAME, ROOT, serve
from tests.tiny_model import write_model_dir

PREDICT = f"/v1/models/{NAME}:predict"
JPEG = {"Content-Type": "image/jpeg"}
PATIENCE = 60  # seconds until a test gives up


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def swap(folder, new):
    """Let a link name another folder in one step, as a volume that is updated does."""
    link = folder / "link.new"
    link.symlink_to(new)
    link.replace(folder / "link")


class Clients:
    """Threads that ask as fast as they are answered, until they are told to stop."""

    def __init__(self, server, photo, count=4):
        self.answers, self.failures = [], []
        self._server, self._photo = server, photo
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._running = [self._pool.submit(self._ask) for _ in range(count)]

    def _ask(self):
        with httpx.Client(timeout=PATIENCE) as client:
            while not self._stop.is_set():
                try:
                    response = client.post(f"{self._server.url}{PREDICT}", content=self._photo, headers=JPEG)
                    self.answers.append((response.status_code, response.text))
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    return

    def stop(self):
        self._stop.set()
        for running in self._running:
            running.result()
        self._pool.shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.stop()


@pytest.fixture
def folder(tmp_path):
    """`link`, a model dir that can be exchanged, and what it may be exchanged with."""
    for name, most in (("first", 1000), ("second", 3), ("broken", 1000)):
        write_model_dir(tmp_path / name, name=name, max_detections=most)
    with (tmp_path / "broken" / "model.onnx").open("ab") as file:
        file.write(b"one more byte")
    swap(tmp_path, tmp_path / "first")
    return tmp_path


@contextlib.contextmanager
def running(folder, *arguments):
    arguments = ["--model_name", NAME, "--model_dir", folder / "link", "--threads", 2, *arguments]
    with serve(folder / "server.log", *arguments) as server:
        yield server


def test_another_model_takes_over_and_no_request_is_lost(folder, photos):
    with running(folder, "--drain_seconds", 0) as server:
        with Clients(server, photos["shelf"]) as clients:
            wait_for(lambda: len(clients.answers) >= 20, "answers of the first model")
            swap(folder, folder / "second")
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: clients.answers[-1] != clients.answers[0], "an answer of the second model")
            asked = len(clients.answers)
            wait_for(lambda: len(clients.answers) >= asked + 20, "more answers of it")

    assert clients.failures == []
    assert {status for status, _ in clients.answers} == {200}
    assert len(set(clients.answers)) == 2  # the first model's, then the second's


def test_a_broken_model_does_not_take_over(folder, photos):
    with running(folder, "--drain_seconds", 0) as server:
        swap(folder, folder / "broken")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "was not loaded" in server.log.read_text(), "the reason in the log")

        assert "SHA-256" in server.log.read_text()
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200
        assert httpx.get(f"{server.url}/metrics").text.count("stocktake_model_info{") == 1
        response = httpx.post(f"{server.url}{PREDICT}", content=photos["shelf"], headers=JPEG)
        assert response.json()["predictions"][0]["products"] == 6


@pytest.mark.long
def test_nothing_is_lost_when_a_server_ends_under_load(folder, photos):
    """As Kubernetes does it: a server that is not ready is sent nothing new, then it may go."""
    with running(folder, "--drain_seconds", 20) as server:
        with Clients(server, photos["shelf"]) as clients:
            wait_for(lambda: len(clients.answers) >= 20, "answers")
            server.process.terminate()
            ready = f"{server.url}/v2/health/ready"
            wait_for(lambda: httpx.get(ready).status_code == 503, "a server that is not ready")
            asked = len(clients.answers)
            wait_for(lambda: len(clients.answers) > asked + 4, "answers of a server that is not ready")
        assert server.process.wait(PATIENCE) == 0

    assert clients.failures == []
    assert {status for status, _ in clients.answers} == {200}


@pytest.mark.long
def test_a_server_that_drains_sends_its_clients_away(folder, photos):
    with running(folder, "--drain_seconds", 20) as server, httpx.Client() as client:
        server.process.terminate()
        wait_for(lambda: client.get(f"{server.url}/v2/health/ready").status_code == 503, "the drain")
        response = client.post(f"{server.url}{PREDICT}", content=photos["shelf"], headers=JPEG)

    assert response.status_code == 200
    assert response.headers["connection"] == "close"


def test_a_reload_ends_with_the_server():
    """Or models that nobody will ask were loaded one after the other before the process could end."""
    ended = []

    async def main():
        begun = asyncio.Event()

        async def reload():
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        waiting = asyncio.create_task(wait_for_signal(reload))
        await asyncio.sleep(0)  # it takes the signals
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(begun.wait(), PATIENCE)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not await asyncio.wait_for(waiting, PATIENCE)
        await asyncio.sleep(0)
        assert ended

    asyncio.run(main())


def test_a_fault_in_one_model_is_none_of_the_next(tmp_path, caplog):
    def load(_name, model_dir):
        raise RuntimeError(f"no way to load {model_dir.name}")

    repository = PredictorRepository({name: tmp_path / name for name in ("first", "second")}, load)
    asyncio.run(repository.reload_all())

    assert "no way to load first" in caplog.text
    assert "no way to load second" in caplog.text


def test_an_interrupted_server_does_not_wait(folder):
    with running(folder, "--drain_seconds", 3600 - 1) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0


def test_a_model_that_cannot_be_loaded_ends_the_server(folder, tmp_path):
    swap(folder, folder / "broken")
    command = [sys.executable, "-m", "serving.predictors", "--model_dir", str(folder / "link")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE * 3)

    assert ended.returncode == 1
    assert "model.onnx: its SHA-256 is" in ended.stderr
    assert "Traceback" not in ended.stderr

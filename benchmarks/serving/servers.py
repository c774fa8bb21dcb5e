"""Servers as processes: ours and the peers', from their start to their first answer and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.serving.environments import make_environment
from benchmarks.serving.http_client import Answer
from benchmarks.serving.load import run
from benchmarks.serving.samples import GOOD
from benchmarks.serving.ways import WAYS, client_of

START_SECONDS = 180
STOP_SECONDS = 20
POLL_SECONDS = 0.02
TUTORIAL = "KServe tutorial"
PEERS = {  # environment, and how it is asked
    "LitServe": ("litserve", "predict-json"),
    "MLServer": ("mlserver", "v2-base64"),
    "BentoML": ("bentoml", "predict-form"),
    "Triton": ("pytriton", "grpc-batched"),
}


class ServerFailed(Exception):
    """A server did not come up; says why."""


@dataclass(frozen=True)
class Server:
    """How to start a server and how to ask it."""

    name: str
    command: tuple[str, ...]  # without its ports
    way: str
    model: str  # its name in URLs
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: Server
    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    log: Path
    seconds_to_answer: float
    first_answer: Answer

    def rss(self) -> int:
        """Resident bytes of the process and those that it started."""
        total = 0
        for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total


def our_server(model: str, model_dir: Path, name: str = "ours", precision: str | None = None) -> Server:
    """The predictor of this repository; None is for the fastest precision that the card allows."""
    command = (sys.executable, "-m", "serving.predictors", "--model", f"{model}={model_dir}")
    environment = {"STOCKTAKE_PRECISION": precision} if precision else {}
    return Server(name, command, "v2-binary", model, environment)


def tutorial_server(model: str, model_dir: Path) -> Server:
    """KServe's tutorial, in this environment."""
    module = "benchmarks.serving.peers.kserve_tutorial"
    command = (sys.executable, "-m", module, "--model", model, "--model_dir", str(model_dir))
    return Server(TUTORIAL, command, "v1-base64", model)


def peer_server(work: Path, peer: str, model: str, model_dir: Path, setup: str, precision: str) -> Server:
    """One of PEERS, in an environment of its own.

    Args:
        work: where environments are.
        peer: a key of PEERS.
        model: its name in URLs.
        model_dir: what it serves.
        setup: `usual` or `same`, see `peers.pipeline`.
        precision: of the model, fp32 for the usual set-up.

    Raises:
        EnvironmentMissing: there is no environment and none can be made.
    """
    environment, way = PEERS[peer]
    python = make_environment(work, environment)
    command = (
        str(python), "-m", f"benchmarks.serving.peers.with_{environment}", "--model", model,
        "--model_dir", str(model_dir), "--setup", setup, "--precision", precision,
    )  # fmt: skip
    return Server(f"{peer} {setup}", command, way, model)


@contextlib.contextmanager
def started(server: Server, photo: bytes, log_dir: Path) -> Iterator[Running]:
    """A server from its first good answer about `photo` to its end.

    Raises:
        ServerFailed: it ended or was not there in time; quotes the end of its log.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log = log_dir / f"{server.model}-{server.name.replace(' ', '-')}.log"
    http_port, grpc_port = free_ports(2)
    command = [*server.command, "--http_port", str(http_port), "--grpc_port", str(grpc_port)]
    path = os.pathsep.join([str(Path.cwd()), str(Path.cwd() / "src")])
    environment = {**os.environ, "PYTHONPATH": path, **server.environment}
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        answer = run(_first_answer(server, process, http_port, grpc_port, photo))
        if answer is None:
            tail = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise ServerFailed(f"{server.name}: no answer; its log ends: {' | '.join(tail)}")
        seconds = time.perf_counter() - begun
        yield Running(server, process, http_port, grpc_port, log, seconds, answer)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it started: politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)  # it began a session of its own, so this is its group
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def free_ports(count: int) -> list[int]:
    """`count` different ones of the loopback device; they were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


async def _first_answer(
    server: Server, process: subprocess.Popen[bytes], http_port: int, grpc_port: int, photo: bytes
) -> Answer | None:
    import asyncio

    message = WAYS[server.way](server.model, photo)
    client = client_of(server.way, http_port, grpc_port)
    deadline = time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < deadline and process.poll() is None:
            answer = await client.ask(message)
            if answer.code in GOOD:
                return answer
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await client.close()
    return None

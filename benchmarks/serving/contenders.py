"""Who is compared: our predictor at each precision and by each way, the peers, and the bare model."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.answers import figure_of, read_answer
from benchmarks.serving.environments import EnvironmentMissing
from benchmarks.serving.servers import (
    PEERS,
    Running,
    Server,
    ServerFailed,
    our_server,
    peer_server,
    started,
    tutorial_server,
)
from benchmarks.serving.workload import model_of, photos_of
from stocktake.model_card import ModelCard

PRECISIONS = ("fp32", "bf16", "int8")  # slowest first
OTHER_WAYS = ("grpc", "v1-base64")  # beside the one that is compared


@dataclass(frozen=True)
class Contender:
    """A server that answers, by one of its ways."""

    name: str
    running: Running
    way: str


class Line:
    """All contenders for one model, up at the same time.

    Attributes:
        contenders: those that came up.
        limits: the bare model, by precision.
        default: the fastest precision that may be served.
        skipped: why others are missing, by name.
    """

    def __init__(self, work: Path, model: str, peers: Sequence[str], stack: contextlib.ExitStack):
        self.contenders: list[Contender] = []
        self.limits: dict[str, Follower] = {}
        self.skipped: dict[str, str] = {}
        self._photo = photos_of(work, model)[0]
        self._logs, self._stack = work / "logs", stack
        model_dir = model_of(work, model)
        allowed = ModelCard.read(model_dir).precisions
        ours = {p: our_server(model, model_dir, f"ours {p}", p) for p in PRECISIONS if p in allowed}
        up = [precision for precision, server in ours.items() if self._start(server)]
        if not up:
            raise SystemExit(f"ours does not start: {self.skipped}")
        self.default = up[-1]
        best = self.contenders[-1].running
        self.contenders += [Contender(f"ours {self.default} {way}", best, way) for way in OTHER_WAYS]
        for precision in up:
            photos = work / "photos" / model
            self.limits[precision] = stack.enter_context(Follower(model_dir, photos, precision))
        self._start(tutorial_server(model, model_dir))
        for peer in peers:
            for setup, precision in (("usual", "fp32"), ("same", self.default)):
                try:
                    self._start(peer_server(work, peer, model, model_dir, setup, precision))
                except EnvironmentMissing as error:
                    self.skipped[f"{peer} {setup}"] = str(error)
        self.figures = {each.name: self._figure(each) for each in self.contenders}

    def _start(self, server: Server) -> bool:
        print(f"  starting {server.name}", flush=True)
        try:
            running = self._stack.enter_context(started(server, self._photo, self._logs))
        except ServerFailed as error:
            self.skipped[server.name] = str(error)
            print(f"  skipped: {error}", flush=True)
            return False
        self.contenders.append(Contender(server.name, running, server.way))
        return True

    def _figure(self, contender: Contender) -> int | None:
        """What it said about the first photo; None for a further way of a server that was asked already."""
        if contender.way != contender.running.server.way:
            return None
        first = contender.running.first_answer
        return figure_of(read_answer(contender.way, first.body, first.headers))


class Follower:
    """The bare model in a process of its own, measured whenever it is told to."""

    def __init__(self, model_dir: Path, photos: Path, precision: str):
        command = [sys.executable, "-m", "benchmarks.serving.limit", "--follow", "--precision", precision]
        self._command = [*command, "--model_dir", str(model_dir), "--photos", str(photos)]

    def __enter__(self) -> Follower:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def measure(self, seconds: float) -> dict[str, Any]:
        """What `limit.measure` finds, with `seconds` for each layout."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


def peers_named(names: Sequence[str]) -> list[str]:
    """The peers of that many names; `none` is for none."""
    return [] if list(names) == ["none"] else [name for name in PEERS if name in names]

"""A predictor on a GPU beside its limit: photos per second of each stage, and from end to end.

    python -m benchmarks.gpu.serving --model shelf-detector
    python -m benchmarks.gpu.serving --device cpu --seconds 1 --concurrency 4

Decode: batches on the device, as `stocktake.gpu_decoding` does it, and photo by photo on all cores. Model:
batches of 1 to 64 from one thread and from as many as the runner has lanes. Interpretation: on all cores.
The slowest of the three is the limit, since a server can do them at the same time; the bare pipeline is all
three in threads. End to end is the server over REST binary, closed loops of clients in processes of their
own, beside the limit in the same run. Goal: .8 of it. `--device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.limit import Bare
from benchmarks.serving.servers import Running, our_server, started
from benchmarks.serving.workload import BINS, SHELVES, model_of, photos_of

GOAL = 0.8
CORES = len(os.sched_getaffinity(0))
BATCHES = (1, 8, 16, 32, 64)
DECODE_BATCHES = (8, 32)
CLIENTS = 4  # processes: one alone sends about two thousand requests a second


def main() -> None:
    """Measure the stages and the server in turn, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--model", choices=(SHELVES, BINS), default=SHELVES, help="(default: %(default)s)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="(default: %(default)s)")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 32, 128], help="closed loops")
    parser.add_argument("--seconds", type=float, default=5, help="of each point (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    options = parser.parse_args()
    photos, model_dir = photos_of(options.work, options.model), model_of(options.work, options.model)
    bare = Bare(model_dir)
    if options.device not in bare.described.split():
        raise SystemExit(f"the model runs on {bare.described}, not on a {options.device}")
    stages = Stages(bare, photos, options.seconds)
    print(f"{options.model} on {bare.described}, {CORES} cores, {len(photos)} photos", flush=True)
    found: dict[str, list[float]] = {}
    with started(our_server(options.model, model_dir), photos[0], options.work / "logs") as running:
        for number in range(options.rounds):
            round_ = stages.measure() | end_to_end(running, options)
            round_["end to end / limit"] = max(
                rate for name, rate in round_.items() if name.startswith("end to end, c=")
            ) / min(round_[f"best {stage}"] for stage in ("decode", "model", "interpret"))
            for name, value in round_.items():
                found.setdefault(name, []).append(value)
                print(f"  round {number + 1} {name}: {value:,.2f}", flush=True)
    for name, values in found.items():
        print(f"{name:40} {statistics.median(values):10,.2f}  ({min(values):,.2f} to {max(values):,.2f})")
    print(f"goal: end to end / limit at least {GOAL}")


class Stages:
    """The three stages of a model, each by itself."""

    def __init__(self, bare: Bare, photos: list[bytes], seconds: float):
        self.bare, self.photos, self.seconds = bare, photos, seconds
        self.decoded = [bare.model.decode(photo) for photo in photos]
        self.answers = [bare.infer(photo.tensor[None])[0] for photo in self.decoded]

    def measure(self) -> dict[str, float]:
        """Photos per second by stage and way, the best of each stage, and of all three in threads."""
        found: dict[str, dict[str, float]] = {
            "decode": self._decode(),
            "model": self._model(),
            "interpret": {"all cores": self._rate(self._interpret, 1, CORES)},
        }
        rates = {f"{stage}, {way}": rate for stage, ways in found.items() for way, rate in ways.items()}
        best = {f"best {stage}": max(ways.values()) for stage, ways in found.items()}
        return {**rates, **best, "bare pipeline": self._rate(self._whole, 1, 2 * CORES)}

    def _decode(self) -> dict[str, float]:
        ways = {"all cores": self._rate(self._decode_one, 1, CORES)}
        try:
            from stocktake.gpu_decoding import decode_batch, find_decoder
        except ModuleNotFoundError:
            return ways
        if find_decoder() is None:
            return ways
        side = self.bare.model.card.input_size
        for size, threads in itertools.product(DECODE_BATCHES, (1, 2)):
            batch = list(itertools.islice(itertools.cycle(self.photos), size))
            work: Callable[[int], object] = lambda _, batch=batch: decode_batch(batch, side)  # noqa: E731
            ways[f"batches of {size}, {threads} threads"] = self._rate(work, size, threads)
        return ways

    def _model(self) -> dict[str, float]:
        ways = {}
        for size, lanes in itertools.product(BATCHES, sorted({1, self.bare.lanes})):
            tensors = itertools.islice(itertools.cycle(self.decoded), size)
            batch, alone = np.stack([photo.tensor for photo in tensors]), lanes == 1
            work: Callable[[int], object] = lambda _, b=batch, a=alone: self.bare.infer(b, a)  # noqa: E731
            ways[f"batches of {size}, {lanes} lanes"] = self._rate(work, size, lanes)
        return ways

    def _decode_one(self, turn: int) -> object:
        return self.bare.model.decode(self.photos[turn % len(self.photos)])

    def _interpret(self, turn: int) -> object:
        place = turn % len(self.photos)
        return self.bare.interpret(self.answers[place], self.decoded[place])

    def _whole(self, turn: int) -> object:
        return self.bare.report(self.photos[turn % len(self.photos)], alone=False)

    def _rate(self, work: Callable[[int], object], size: int, threads: int) -> float:
        """Photos per second of `work` on batches of `size`, in so many threads."""
        work(0)  # a first batch of a size may compile
        turns, done = itertools.count(), itertools.count()
        begun = time.perf_counter()

        def repeat() -> None:
            while time.perf_counter() - begun < self.seconds:
                work(next(turns))
                next(done)

        workers = [threading.Thread(target=repeat) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return next(done) * size / (time.perf_counter() - begun)


def end_to_end(running: Running, options: argparse.Namespace) -> dict[str, float]:
    """Requests per second of the server for each concurrency, and p99 in ms."""
    found = {}
    for concurrency in options.concurrency:
        processes = min(CLIENTS, concurrency)
        shares = [concurrency // processes + (n < concurrency % processes) for n in range(processes)]
        loads = [_client(running, options, share) for share in shares]
        summaries: list[dict[str, Any]] = [json.loads(load.communicate()[0]) for load in loads]
        found[f"end to end, c={concurrency}"] = sum(summary["rps"] for summary in summaries)
        found[f"p99 of it in ms, c={concurrency}"] = max(summary["p99"] for summary in summaries)
    return found


def _client(running: Running, options: argparse.Namespace, concurrency: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.serving.load", "--http_port", str(running.http_port)]
    command += ["--model", options.model, "--photos", str(options.work / "photos" / options.model)]
    command += ["--concurrency", str(concurrency), "--seconds", str(options.seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    main()

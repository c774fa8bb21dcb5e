"""The physical limit: decode, model and interpretation in threads, without a server, in the best layout.

    python -m benchmarks.serving.limit --model_dir runs/demo/model --photos runs/serving/photos/shelf-detector
    python -m benchmarks.serving.limit --model_dir DIR --photos DIR --precision bf16 --seconds 10

Layouts: `one` photo after the other on all cores, which is the bare call; `one+decode`, where others are
decoded meanwhile; `lanes`, a photo on each share of the cores; `lanes+decode`, where further threads decode.
Prints one JSON object: photos per second of each layout, the best of them, the seconds of single photos, and
the median milliseconds of each stage. With --follow it measures once more for each line of its input.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAGES = ("decode", "infer", "interpret")


def main() -> None:
    """Measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--model_dir", type=Path, required=True, help="of either task")
    parser.add_argument("--photos", type=Path, required=True, help="folder of encoded photos")
    parser.add_argument("--precision", help="fp32, bf16 or int8 (default: the fastest that the card allows)")
    parser.add_argument("--seconds", type=float, default=5, help="of each layout (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="once for each line of standard input")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(options.photos.iterdir())]
    bare = Bare(options.model_dir, options.precision)
    for _ in sys.stdin if options.follow else [""]:
        print(json.dumps(measure(bare, photos, options.seconds)), flush=True)


class Bare:
    """A model without a server.

    Attributes:
        lanes: shares of the cores that run side by side.
        described: engine and precision.
    """

    def __init__(self, model_dir: Path, precision: str | None = None):
        import cv2

        from stocktake.bins.counter import BinCounter
        from stocktake.model_card import ModelCard
        from stocktake.shelf.detector import ShelfDetector

        cv2.setNumThreads(1)  # as in the server
        kind: Any = BinCounter if ModelCard.read(model_dir).task == "bin-counter" else ShelfDetector
        self.model = kind.load(model_dir, precision=precision, lanes=len(os.sched_getaffinity(0)))
        runner = self.model.runner
        self.lanes = runner.lanes
        self.described = f"{runner.engine} {runner.device} {runner.precision}"
        self._counts = kind is BinCounter

    def infer(self, batch: Any, alone: bool = True) -> Any:
        """What the model says of (N, S, S, 3) uint8; N answers."""
        return self.model.infer(batch, alone=alone)

    def interpret(self, answer: Any, decoded: Any) -> Any:
        """The report of one photo; a counter's takes no photo."""
        return self.model.interpret(answer) if self._counts else self.model.interpret(answer, decoded)

    def report(self, photo: bytes, alone: bool) -> Any:
        """What the model says of one photo."""
        decoded = self.model.decode(photo)
        return self.interpret(self.infer(decoded.tensor[None], alone)[0], decoded)

    def call(self, photo: bytes, alone: bool, turn: Any, times: dict[str, list[float]]) -> None:
        """One photo from bytes to report; the model runs inside `turn`, a lock, say."""
        clock = [time.perf_counter()]
        decoded = self.model.decode(photo)
        clock.append(time.perf_counter())
        with turn:
            entered = time.perf_counter()
            answer = self.infer(decoded.tensor[None], alone)[0]
            clock.append(time.perf_counter())
        self.interpret(answer, decoded)
        done = time.perf_counter()
        times["decode"].append(clock[1] - clock[0])
        times["infer"].append(clock[2] - entered)
        times["interpret"].append(done - clock[2])
        times["photo"].append(done - clock[0])


@dataclass(frozen=True)
class Layout:
    """So many threads, and so many of them in the model at a time, alone on all cores or not."""

    threads: int
    at_once: int
    alone: bool


@dataclass
class Outcome:
    """What one layout did."""

    rps: float = 0.0
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (*STAGES, "photo")})


def measure(bare: Bare, photos: list[bytes], seconds: float) -> dict[str, Any]:
    """Go through all layouts, `seconds` each."""
    lanes = bare.lanes
    layouts = {
        "one": Layout(1, 1, alone=True),
        "one+decode": Layout(lanes + 1, 1, alone=True),
        "lanes": Layout(lanes, lanes, alone=False),
        "lanes+decode": Layout(2 * lanes, lanes, alone=False),
    }
    found = {name: run_layout(bare, layout, photos, seconds) for name, layout in layouts.items()}
    rates = {name: outcome.rps for name, outcome in found.items()}
    return {
        "runs_on": bare.described,
        "lanes": lanes,
        "rps": max(rates.values()),
        "best": max(rates, key=lambda name: rates[name]),
        "layouts": rates,
        "alone_s": found["one"].times["photo"],
        "lane_s": found["lanes"].times["photo"],
        "stages_ms": {name: 1e3 * statistics.median(found["one"].times[name]) for name in STAGES},
    }


def run_layout(bare: Bare, layout: Layout, photos: list[bytes], seconds: float) -> Outcome:
    """Ask for photo after photo in all threads; each ends the one that it has begun."""
    outcome, turns = Outcome(), itertools.count()
    turn = (
        threading.Semaphore(layout.at_once) if layout.threads > layout.at_once else contextlib.nullcontext()
    )
    bare.call(photos[0], layout.alone, turn, Outcome().times)  # warm
    begun = time.perf_counter()

    def work() -> None:
        while time.perf_counter() - begun < seconds:
            bare.call(photos[next(turns) % len(photos)], layout.alone, turn, outcome.times)

    threads = [threading.Thread(target=work) for _ in range(layout.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.rps = len(outcome.times["photo"]) / (time.perf_counter() - begun)
    return outcome


if __name__ == "__main__":
    main()

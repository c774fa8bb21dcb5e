"""Our predictor beside the physical limit and the servers that a user would pick instead, in one run.

    python -m benchmarks.serving.compare --work runs/serving
    python -m benchmarks.serving.compare --models bin-counter --peers LitServe --rounds 1 --seconds 2

All servers are up at once, and loads go round: in each round every server gets every closed loop in turn,
and so does the bare model. Then the open loops, at shares of what ours did at its best, beside an ideal queue
with the same arrivals. Writes WORK/results.json as it goes, then a table of ratios and a plot, see `report`.
With the defaults it takes about an hour, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving.contenders import Contender, Line, peers_named
from benchmarks.serving.load import closed_loop, open_loop, poisson_arrivals, run
from benchmarks.serving.queueing import ideal_p99
from benchmarks.serving.report import ratio_table, write_plot
from benchmarks.serving.samples import Samples, merge
from benchmarks.serving.servers import PEERS
from benchmarks.serving.ways import WAYS, client_of
from benchmarks.serving.workload import BINS, SHELVES, model_of, photos_of

SHARES = (0.5, 0.8)  # of saturation, in the open loop
LIBRARIES = ("openvino", "onnxruntime", "opencv-python-headless", "kserve", "torch", "numpy")


def main() -> None:
    """Prepare, measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--models", nargs="+", choices=(SHELVES, BINS), default=[SHELVES, BINS])
    parser.add_argument("--peers", nargs="+", choices=(*PEERS, "none"), default=list(PEERS))
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32], help="closed loops")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6, help="of a closed loop (default: %(default)s)")
    parser.add_argument(
        "--open_seconds", type=float, default=30, help="of an open one (default: %(default)s)"
    )
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "options": _plain(vars(options)), "models": {}}
    for model in options.models:
        model_of(options.work, model)
        print(model, flush=True)
        with contextlib.ExitStack() as stack:
            line = Line(options.work, model, peers_named(options.peers), stack)
            Measurement(line, results, model, options).measure()
    print(ratio_table(results))
    print(write_plot(results, options.work / "performance.png"))


def machine() -> dict[str, Any]:
    """What this runs on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(": ")[2] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


class Measurement:
    """The loads of one model's line, kept in `results` and written after each round."""

    def __init__(self, line: Line, results: dict[str, Any], model: str, options: argparse.Namespace):
        self.line, self.options, self._results = line, options, results
        self.photos = photos_of(options.work, model)
        self.model = model
        self.found: dict[str, Any] = {
            "default": line.default,
            "skipped": line.skipped,
            "figures": line.figures,
            "photos": len(self.photos),
            "photo_kb": round(np.mean([len(photo) for photo in self.photos]) / 1e3),
            "servers": {each.name: {str(c): [] for c in options.concurrency} for each in line.contenders},
            "limit": {precision: [] for precision in line.limits},
            "open": {},
        }
        results["models"][model] = self.found

    def measure(self) -> None:
        """Closed loops and the bare model in rounds, then open loops in rounds."""
        for each in self.line.contenders:
            self._closed(each, 4, min(self.options.seconds, 2))  # warm
        for number in range(self.options.rounds):
            shift = number * len(self.line.contenders) // self.options.rounds
            turns = self.line.contenders[shift:] + self.line.contenders[:shift]
            for concurrency in self.options.concurrency:
                for each in turns:
                    samples = self._closed(each, concurrency, self.options.seconds)
                    self.found["servers"][each.name][str(concurrency)].append(samples.summary())
                    self._say(f"round {number + 1} {each.name} c={concurrency}", samples)
            for precision, follower in self.line.limits.items():
                limit = follower.measure(self.options.seconds)
                self.found["limit"][precision].append(limit)
                print(
                    f"  round {number + 1} limit {precision}: {limit['rps']:.2f}/s by {limit['best']}",
                    flush=True,
                )
            self._write()
        self._open_loops()
        self._write()

    def _closed(self, contender: Contender, concurrency: int, seconds: float) -> Samples:
        async def load() -> Samples:
            client = client_of(contender.way, contender.running.http_port, contender.running.grpc_port)
            try:
                return await closed_loop(client, self._messages(contender), concurrency, seconds)
            finally:
                await client.close()

        return run(load())

    def _open_loops(self) -> None:
        ours = [each for each in self.line.contenders if each.name.removeprefix("ours ") in self.line.limits]
        runs: dict[tuple[str, float], list[Samples]] = {}
        for number in range(self.options.rounds):
            for each in ours:
                for share in SHARES:
                    arrivals = poisson_arrivals(
                        share * self._saturation(each), self.options.open_seconds, seed=number
                    )
                    samples = self._open(each, arrivals)
                    runs.setdefault((each.name, share), []).append(samples)
                    self._say(f"round {number + 1} {each.name} open at {share:.0%}", samples)
        for (name, share), parts in runs.items():
            point = {**merge(parts).summary(), **self._ideal(name.removeprefix("ours "), parts)}
            self.found["open"].setdefault(name, {})[str(share)] = point

    def _open(self, contender: Contender, arrivals: np.ndarray) -> Samples:
        async def load() -> Samples:
            client = client_of(contender.way, contender.running.http_port, contender.running.grpc_port)
            try:
                return await open_loop(client, self._messages(contender), arrivals)
            finally:
                await client.close()

        return run(load())

    def _ideal(self, precision: str, parts: list[Samples]) -> dict[str, float]:
        """The ideal queue's p99 in ms for the same arrivals, in our layout and with lanes only."""
        limits = self.found["limit"][precision]
        alone, lane = (np.concatenate([limit[key] for limit in limits]) for key in ("alone_s", "lane_s"))
        arrivals = [np.sort(part.intended) for part in parts]
        lanes = limits[0]["lanes"]
        return {
            "ideal_p99": 1e3 * ideal_p99(arrivals, lane, lanes, alone),
            "lanes_p99": 1e3 * ideal_p99(arrivals, lane, lanes, None),
        }

    def _saturation(self, contender: Contender) -> float:
        """Requests per second at the best concurrency, the median of the rounds."""
        points = self.found["servers"][contender.name].values()
        return max(statistics.median(summary["rps"] for summary in rounds) for rounds in points)

    def _messages(self, contender: Contender) -> list[bytes]:
        return [WAYS[contender.way](self.model, photo) for photo in self.photos]

    def _say(self, what: str, samples: Samples) -> None:
        summary = samples.summary()
        others = {code: n for code, n in summary["codes"].items() if code not in ("200", "OK")}
        print(
            f"  {what}: {summary['rps']:.2f}/s, p50 {summary['p50']:.0f}, p99 {summary['p99']:.0f} ms"
            f"{f', {others}' if others else ''}",
            flush=True,
        )

    def _write(self) -> None:
        path = self.options.work / "results.json"
        path.write_text(json.dumps(self._results, indent=1))


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


if __name__ == "__main__":
    main()

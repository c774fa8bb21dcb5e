"""What is looked at while a load runs: memory of every process, and photos that wait."""

import contextlib
import csv
import re
import threading
import time
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import psutil
from honcho.environ import parse_procfile
from prometheus_client.parser import text_string_to_metric_families

PROCFILE = Path(__file__).parents[2] / "Procfile"
EVERY_S = 2.0
FIELDS = ("seconds", "queue", "unfinished")


class Sampler:
    """A thread that writes a line every two seconds: `FIELDS`, and bytes of each process."""

    def __init__(self, up: psutil.Popen, url: str, path: Path):
        self._processes, self._url, self._path = processes_of(up), url, path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def states(self) -> dict[str, float]:
        """How many photos are in each state but `done` and `failed`."""
        return {
            labels["state"]: value
            for labels, value in self._metric("stocktake_gateway_photos")
            if "state" in labels
        }

    def wait_until_empty(self, most_s: float) -> float | None:
        """Seconds until every photo that was taken is over; None if that takes longer than `most_s`."""
        began = time.monotonic()
        while time.monotonic() - began < most_s:
            with contextlib.suppress(OSError):
                if not self._unfinished():
                    return time.monotonic() - began
            time.sleep(EVERY_S / 2)
        return None

    def _run(self) -> None:
        began = time.monotonic()
        with self._path.open("w", newline="") as file:
            lines = csv.DictWriter(file, [*FIELDS, *self._processes])
            lines.writeheader()
            while not self._ended.wait(EVERY_S):
                lines.writerow(
                    {"seconds": f"{time.monotonic() - began:.1f}", **self._counts(), **self._memory()}
                )
                file.flush()

    def _counts(self) -> dict[str, Any]:
        try:
            queue = sum(value for _, value in self._metric("stocktake_gateway_queue_length"))
            return {"queue": int(queue), "unfinished": self._unfinished()}
        except (OSError, ValueError):  # no answer, or not a number: Redis is away
            return {}

    def _unfinished(self) -> int:
        return int(sum(count for state, count in self.states().items() if state != "dead"))

    def _memory(self) -> dict[str, int]:
        found = {}
        for name, process in self._processes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[name] = process.memory_info().rss
        return found

    def _metric(self, name: str) -> list[tuple[dict[str, str], float]]:
        with urlopen(f"{self._url}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return [
                (sample.labels, sample.value)
                for family in families
                for sample in family.samples
                if sample.name == name
            ]


def processes_of(up: psutil.Popen) -> dict[str, psutil.Process]:
    """The process of each line of the Procfile that runs."""
    running = {
        " ".join(one.cmdline()): one
        for one in up.children(recursive=True)
        if "serving.up" not in one.cmdline()  # which honcho forks
    }
    found = {}
    for name, command in parse_procfile(PROCFILE.read_text()).processes.items():
        program = re.search(r"redis-server|(serving|mlflow)[.\w]*( serve| worker)?", command)
        for line, process in running.items():
            if program and program[0] in line:
                found[name] = process
    return found

"""Good and bad requests at saturation for twenty minutes: no 500, no growth, no wrong answer.

    python -m benchmarks.serving.soak --work runs/serving --model shelf-detector
    python -m benchmarks.serving.soak --minutes 2 --model bin-counter

Sixteen clients send good photos by four ways, and every answer is compared with what the same engine says
at the same precision in another process: boxes within 1 px, scores and probabilities within .01. Three more
send what clients get wrong, one goes away in the middle of a body, and one dribbles it. Memory is sampled
once a second, without the first fifth. Exits with 1 where anything was not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.answers import read_answer
from benchmarks.serving.bad_requests import BUSY, Bad, bad_requests
from benchmarks.serving.grpc_client import GrpcClient
from benchmarks.serving.http_client import HttpClient, connect
from benchmarks.serving.load import run
from benchmarks.serving.memory import slope
from benchmarks.serving.offline import Reference, difference, references
from benchmarks.serving.samples import GOOD
from benchmarks.serving.sections import save_section
from benchmarks.serving.servers import Running, our_server, started
from benchmarks.serving.ways import WAYS
from benchmarks.serving.workload import BINS, SHELVES, model_of, photos_of

GOOD_CLIENTS, BAD_CLIENTS = 16, 3
GOOD_WAYS = ("v2-binary", "grpc", "v1-raw", "v1-base64")
BAD_PAUSE_SECONDS = 0.05
SAMPLE_SECONDS = 1.0
WARM_SHARE = 0.2
FEWEST_SAMPLES = 60  # that a slope needs
KEPT = 5  # differences that are quoted


def main() -> None:
    """Load, print, exit with 1 for a fault."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--model", choices=(SHELVES, BINS), default=SHELVES, help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=20, help="(default: %(default)s)")
    options = parser.parse_args()
    photos, model_dir = photos_of(options.work, options.model), model_of(options.work, options.model)
    known = references(model_dir, options.work / "photos" / options.model)
    with started(our_server(options.model, model_dir), photos[0], options.work / "logs") as running:
        soak = Soak(running, options.model, photos, known)
        run(soak.run(60 * options.minutes))
    faults = soak.faults()
    text = (
        f"{options.minutes:g} minutes, {GOOD_CLIENTS} clients with good requests by {', '.join(GOOD_WAYS)},"
        f" and {BAD_CLIENTS + 2} with bad ones."
    )
    save_section(options.work, f"soak_{options.model.replace('-', '_')}", text, [soak.row(faults)])
    if faults:
        raise SystemExit("\n".join(faults))


class Soak:
    """Twenty clients of one server, and what they saw."""

    def __init__(self, running: Running, model: str, photos: list[bytes], known: list[list[Reference]]):
        self.running, self.model, self.photos, self.known = running, model, photos, known
        self.good: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.checked = 0
        self.differences: list[str] = []
        self.surprises: Counter[str] = Counter()
        self.memory: list[tuple[float, float]] = []
        self._messages = {way: [WAYS[way](model, photo) for photo in photos] for way in GOOD_WAYS}
        self._turns = itertools.count()
        self._end = 0.0

    async def run(self, seconds: float) -> None:
        """Until the time is over and the last answers are there."""
        begun = time.monotonic()
        self._end = begun + seconds
        self._http, self._grpc = HttpClient(self.running.http_port), GrpcClient(self.running.grpc_port)
        kinds = bad_requests(self.model, self.photos[0])
        clients: list[Coroutine[Any, Any, None]] = [self._ask_well() for _ in range(GOOD_CLIENTS)]
        clients += [self._ask_badly(kinds, number) for number in range(BAD_CLIENTS)]
        await asyncio.gather(*clients, self._go_away(), self._dribble(), self._watch(begun))
        await self._http.close()
        await self._grpc.close()

    def faults(self) -> list[str]:
        """What was not as it should be, in words."""
        found = [f"{count} x {what}" for what, count in self.surprises.items()]
        found += self.differences
        if not self.checked:
            found.append("no good answer at all")
        if len(self._samples()[0]) >= FEWEST_SAMPLES and self._slope().grows:
            found.append(f"memory grows by {self._slope()}")
        return found

    def row(self, faults: list[str]) -> dict[str, object]:
        """The figures as a row of a table."""
        seconds, _ = self._samples()
        long_enough = len(seconds) >= FEWEST_SAMPLES
        return {
            "model": self.model,
            "good requests": _listed(self.good),
            "answers compared": f"{self.checked}, {len(self.differences)} wrong",
            "bad requests": _listed(self.bad),
            "unexpected": sum(self.surprises.values()),
            "memory": f"{self.memory[-1][1] / 1e6:.0f} MB, {self._slope() if long_enough else 'too short'}",
            "passed": not faults,
        }

    async def _ask_well(self) -> None:
        while time.monotonic() < self._end:
            turn = next(self._turns)
            number = turn % len(self.photos)
            way = GOOD_WAYS[turn // len(self.photos) % len(GOOD_WAYS)]
            client = self._grpc if way == "grpc" else self._http
            answer = await client.ask(self._messages[way][number])
            self.good[answer.code] += 1
            if answer.code in GOOD:
                found = difference(read_answer(way, answer.body, answer.headers), self.known[number])
                self.checked += 1
                if found and len(self.differences) < KEPT:
                    self.differences.append(f"photo {number} by {way}: {found}")
            elif answer.code not in BUSY:
                self.surprises[f"{answer.code} for a good photo by {way}"] += 1

    async def _ask_badly(self, kinds: list[Bad], first: int) -> None:
        for turn in itertools.count(first):
            if time.monotonic() >= self._end:
                return
            bad = kinds[turn % len(kinds)]
            answer = await (self._grpc if bad.grpc else self._http).ask(bad.message)
            self.bad[answer.code] += 1
            if answer.code not in (*bad.codes, *BUSY):
                self.surprises[f"{answer.code} for {bad.kind}"] += 1
            await asyncio.sleep(BAD_PAUSE_SECONDS)

    async def _go_away(self) -> None:
        """Begin a body and hang up."""
        message = WAYS["v2-binary"](self.model, self.photos[0])
        while time.monotonic() < self._end:
            connection = await connect("127.0.0.1", self.running.http_port)
            asking = asyncio.ensure_future(connection.ask(message[: len(message) // 2]))
            await asyncio.sleep(BAD_PAUSE_SECONDS)
            connection.close()
            await asking
            self.bad["went away"] += 1

    async def _dribble(self) -> None:
        """Send a body in small pieces, and take whatever comes: it may be refused before it is whole."""
        message = WAYS["v1-raw"](self.model, self.photos[0])
        step = len(message) // 40
        while time.monotonic() < self._end:
            connection = await connect("127.0.0.1", self.running.http_port)
            asking = asyncio.ensure_future(connection.ask(message[:step]))
            for at in range(step, len(message), step):
                await asyncio.sleep(BAD_PAUSE_SECONDS)
                connection.send(message[at : at + step])
            answer = await asking
            self.bad[f"dribbled, {answer.code}"] += 1
            if answer.code not in (*GOOD, *BUSY, "408"):
                self.surprises[f"{answer.code} for a slow client"] += 1
            connection.close()

    async def _watch(self, begun: float) -> None:
        while time.monotonic() < self._end:
            self.memory.append((time.monotonic() - begun, float(self.running.rss())))
            await asyncio.sleep(SAMPLE_SECONDS)

    def _samples(self) -> tuple[np.ndarray, np.ndarray]:
        samples = np.array(self.memory[int(WARM_SHARE * len(self.memory)) :])
        return samples[:, 0], samples[:, 1]

    def _slope(self) -> Any:
        return slope(*self._samples())


def _listed(codes: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in codes.most_common())


if __name__ == "__main__":
    main()

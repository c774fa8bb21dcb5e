"""Kills parts of a gateway under load, and looks whether a photo is lost or answered twice differently.

    python -m benchmarks.gateway.kills --component worker --experiments 100 --seed 1

In an experiment some clients submit jobs and single photos over HTTP, each again and again with the same
idempotency key until it is accepted, while others read what is there. At a random moment the component gets
SIGKILL; after a random while it is started again. At the end each accepted photo has to be answered, with
what is on it, and with nothing else than what anybody ever read or was told by webhook.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.gateway_site import Site, encode_png
from tests.tiny_model import draw_photo
from tests.webhook_receiver import Receiver

COMPONENTS = ("worker", "gateway", "redis", "predictor")
QUICK = {"retry_s": 0.2, "retry_at_most_s": 1, "reclaim_s": 2, "reconcile_s": 1, "deadline_s": 20}
OPEN = {"requests_per_minute": 1_000_000, "uploads": 64}
JOBS, PHOTOS, SINGLES = 4, 6, 4  # of one experiment; photos of each job
SPREAD_S = 1.5  # in which they are submitted, and in which after the first was accepted the kill falls
DOWN_S = 1.0  # at most, until the component is started again
OVER_S = 180.0  # until all has to be answered


@dataclass
class Seen:
    """What clients know of one experiment."""

    accepted: dict[str, int] = field(default_factory=dict)  # products on each photo that a gateway took
    jobs: dict[str, list[str]] = field(default_factory=dict)  # photos of each job
    answers: dict[str, set[str]] = field(default_factory=dict)  # of each photo, that anybody ever read
    refused: int = 0  # requests that were sent again
    faults: list[str] = field(default_factory=list)  # answers that no client deserves

    def note(self, photo: dict[str, Any]) -> None:
        """Remember the answer of a photo: what it says and when it was given."""
        if photo["state"] not in ("queued", "running"):
            told = {name: photo.get(name) for name in ("state", "answered_at", "osa", "void_count", "model")}
            self.answers.setdefault(photo["id"], set()).add(json.dumps(told, sort_keys=True))


@dataclass
class Outcome:
    """What became of an experiment."""

    number: int
    component: str
    accepted: int
    waiting_at_kill: int  # photos accepted and not over: whether the kill could hurt
    refused: int
    lost: list[str]
    conflicting: list[str]
    untold: list[str]  # jobs whose webhook never came
    faults: list[str]  # answers other than 2xx, 429, 503 and 504

    @property
    def good(self) -> bool:
        """Whether the kill did no harm."""
        return not (self.lost or self.conflicting or self.untold or self.faults)

    seconds: float


def png(products: int) -> bytes:
    """A photo with so many products for the tiny detector to find."""
    return encode_png(draw_photo([(place % 8, 2 * (place // 8)) for place in range(products)]))


class Experiment:
    """One kill."""

    def __init__(self, site: Site, receiver: Receiver, component: str, number: int, seed: int):
        self._site, self._receiver, self._component, self._number = site, receiver, component, number
        self._random = random.Random(f"{seed} {component} {number}")
        self._seen = Seen()
        self._key = f"{seed}-{component}-{number}-{time.time_ns()}"
        self._http = httpx.AsyncClient(
            base_url=site.url, headers={"Authorization": f"Bearer {site.token}"}, timeout=30, trust_env=False
        )

    async def run(self) -> Outcome:
        """Submit, kill, start again, wait, compare."""
        began = time.monotonic()
        async with self._http:
            readers = [asyncio.create_task(self._read()), asyncio.create_task(self._follow())]
            jobs = [self._submit_job(number) for number in range(JOBS)]
            singles = [self._submit_photo(number) for number in range(SINGLES)]
            waiting, *_ = await asyncio.gather(self._kill(), *jobs, *singles)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OVER_S):
                    await self._until_over()
                    await self._until_told()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            lost, conflicting = await self._compare()
        untold = [job for job in self._seen.jobs if job not in self._receiver.told]
        return Outcome(
            self._number, self._component, len(self._seen.accepted), waiting, self._seen.refused,
            lost, conflicting, untold, self._seen.faults, round(time.monotonic() - began, 1),
        )  # fmt: skip

    async def _kill(self) -> int:
        part = getattr(self._site, self._component)
        after_s, down_s = self._random.uniform(0, SPREAD_S), self._random.uniform(0, DOWN_S)
        while not self._seen.accepted:
            await asyncio.sleep(0.01)
        await asyncio.sleep(after_s)
        over = len(self._seen.answers)
        waiting = len(self._seen.accepted) - over
        await asyncio.to_thread(part.kill)
        await asyncio.sleep(down_s)
        await asyncio.to_thread(part.start)
        return waiting

    async def _submit_job(self, number: int) -> None:
        numbers = [self._random.randint(1, 30) for _ in range(PHOTOS)]
        priority = self._random.choice(("high", "normal", "low"))
        await asyncio.sleep(self._random.uniform(0, SPREAD_S))
        files = [("photos", (f"{n}.png", png(n), "image/png")) for n in numbers]
        form = {"task": "shelves", "priority": priority, "webhook": self._receiver.url}
        job = await self._accepted("/api/jobs", f"job-{number}", files=files, data=form)
        self._seen.jobs[job["id"]] = [photo["id"] for photo in job["photos"]]
        self._seen.accepted |= {photo["id"]: n for photo, n in zip(job["photos"], numbers, strict=True)}

    async def _submit_photo(self, number: int) -> None:
        products = self._random.randint(1, 30)
        await asyncio.sleep(self._random.uniform(0, 2 * SPREAD_S))
        files = {"photo": ("one.png", png(products), "image/png")}
        photo = await self._accepted("/api/photos", f"photo-{number}", files=files, data={"task": "shelves"})
        self._seen.accepted[photo["id"]] = products
        self._seen.note(photo)

    async def _accepted(self, path: str, key: str, **body: Any) -> Any:
        """The answer to a request that is sent until it is taken."""
        headers = {"Idempotency-Key": f"{self._key}-{key}"}
        while (answer := await self._ask("POST", path, headers=headers, **body)) is None:
            self._seen.refused += 1
            await asyncio.sleep(0.1)
        return answer

    async def _get(self, path: str) -> Any:
        while (answer := await self._ask("GET", path)) is None:
            await asyncio.sleep(0.1)
        return answer

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        """JSON, or None where the same is worth another try."""
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TransportError:
            return None
        if not answer.is_success and answer.status_code not in (429, 503, 504):
            self._seen.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json() if answer.is_success else None

    async def _read(self) -> None:
        while True:
            for job in list(self._seen.jobs):
                for photo in (await self._get(f"/api/jobs/{job}"))["photos"]:
                    self._seen.note(photo)
            await asyncio.sleep(0.1)

    async def _follow(self) -> None:
        """Events of the first job, from where they broke off."""
        while not self._seen.jobs:
            await asyncio.sleep(0.02)
        path, last = f"/api/jobs/{next(iter(self._seen.jobs))}/events", {}
        while last != {"Last-Event-ID": "end"}:
            with contextlib.suppress(httpx.TransportError):
                async with self._http.stream("GET", path, headers=last) as answer:
                    async for line in answer.aiter_lines():
                        name, _, value = line.partition(": ")
                        if name == "id":
                            last = {"Last-Event-ID": value}
                        if name == "data" and (said := json.loads(value)).get("job"):
                            self._seen.note(said)
            await asyncio.sleep(0.1)

    async def _until_over(self) -> None:
        while not self._seen.accepted.keys() <= self._seen.answers.keys():
            for photo_id in self._seen.accepted.keys() - self._seen.answers.keys():
                self._seen.note(await self._get(f"/api/photos/{photo_id}"))
            await asyncio.sleep(0.1)

    async def _until_told(self) -> None:
        while not self._seen.jobs.keys() <= self._receiver.told.keys():
            await asyncio.sleep(0.1)

    async def _compare(self) -> tuple[list[str], list[str]]:
        """Photos without an answer, and photos with more than one or with that of another photo."""
        lost, conflicting = [], []
        for photo_id, products in self._seen.accepted.items():
            photo = await self._get(f"/api/photos/{photo_id}")
            self._seen.note(photo)
            if photo["state"] != "done":  # given up is lost, too: nothing was wrong with it
                lost.append(photo_id)
            elif len(self._seen.answers[photo_id]) != 1 or photo["report"]["products"] != products:
                conflicting.append(photo_id)
        for job, photo_ids in self._seen.jobs.items():
            done = {"done": len(photo_ids)}
            conflicting += [job for told in self._receiver.told.get(job, []) if told["photo_count"] != done]
        return lost, conflicting


async def run(components: Sequence[str], experiments: int, seed: int, folder: Path) -> list[Outcome]:
    """So many experiments with each component, one after the other, on processes that live on."""
    outcomes = []
    with Receiver() as receiver:
        site = Site(folder, **QUICK, **OPEN, **receiver.settings)
        try:
            for part in (site.redis, site.predictor, site.gateway, site.worker):
                await asyncio.to_thread(part.start)
            for component, number in itertools.product(components, range(experiments)):
                outcome = await Experiment(site, receiver, component, number, seed).run()
                print(json.dumps(asdict(outcome)), flush=True)
                outcomes.append(outcome)
                if not outcome.good:
                    print(site.gateway.log.read_text()[-5000:], site.worker.log.read_text()[-5000:], sep="\n")
        finally:
            site.stop()
    return outcomes


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """What a report says of a component."""
    return {
        "component": outcomes[0].component,
        "experiments": len(outcomes),
        "while photos waited": sum(outcome.waiting_at_kill > 0 for outcome in outcomes),
        "accepted": sum(outcome.accepted for outcome in outcomes),
        "lost": sum(len(outcome.lost) for outcome in outcomes),
        "conflicting": sum(len(outcome.conflicting) for outcome in outcomes),
        "webhooks that never came": sum(len(outcome.untold) for outcome in outcomes),
        "faults": sum(len(outcome.faults) for outcome in outcomes),
        "requests sent again": sum(outcome.refused for outcome in outcomes),
        "seconds": round(sum(outcome.seconds for outcome in outcomes)),
    }


def main() -> None:
    """Parse the command line, experiment, and fail where something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--component", choices=COMPONENTS, action="append", help="default: each of them")
    parser.add_argument("--experiments", type=int, default=100, help="with each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    components = args.component or COMPONENTS
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        outcomes = asyncio.run(run(components, args.experiments, args.seed, Path(folder)))
    for component in components:
        print(json.dumps(summary([each for each in outcomes if each.component == component])))
    raise SystemExit(0 if all(outcome.good for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()

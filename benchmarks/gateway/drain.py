"""How fast a queue of photos is drained, against what the predictor answers at most.

    python -m benchmarks.gateway.drain --detector runs/demo/model --photos runs/demo/photos

In turn: so many photos are asked of the predictor directly, by as many clients as a worker has photos in
flight; and as many, submitted as jobs while the worker is stopped, are drained by it once it goes on. Goal:
photos per second of the second are at least .95 of those of the first.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

import httpx
import psutil

from serving.gateway.predictors import Predictors
from serving.gateway.records.tables import Task
from serving.gateway.settings import load_gateway_settings
from tests.gateway_site import Site, encode_png
from tests.tiny_model import draw_photo

GOAL = 0.95
AT_ONCE = 100  # photos of one job
KINDS = (".jpg", ".jpeg", ".png", ".webp")


def photos_of(folder: Path | None, count: int) -> list[bytes]:
    """`count` files of a folder, from the first again where it has fewer; without one, small drawn ones."""
    if folder is None:
        found = [encode_png(draw_photo([(place % 8, place // 8)])) for place in range(64)]
    else:
        found = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in KINDS]
    if not found:
        raise SystemExit(f"error: {folder}: no photo in it")
    return list(itertools.islice(itertools.cycle(found), count))


async def ask_directly(site: Site, photos: list[bytes], clients: int) -> float:
    """Photos per second of the predictor alone."""
    predictors = Predictors(load_gateway_settings(**site.settings))
    waiting = iter(photos)

    async def client() -> None:
        for photo in waiting:
            await predictors.infer(Task.SHELVES, photo)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    await predictors.close()
    return len(photos) / seconds


def drain(site: Site, photos: list[bytes]) -> tuple[float, float]:
    """Photos per second of the worker, from its first answer to its last, and its CPU ms for each of them."""
    assert site.worker.process is not None
    worker = psutil.Process(site.worker.process.pid)
    headers = {"Authorization": f"Bearer {site.token}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=300, trust_env=False) as http:
        site.worker.process.send_signal(signal.SIGSTOP)
        jobs = []
        for first in range(0, len(photos), AT_ONCE):
            files = [("photos", ("photo", photo)) for photo in photos[first : first + AT_ONCE]]
            answer = http.post("/api/jobs", data={"task": "shelves"}, files=files)
            jobs.append(answer.raise_for_status().json()["links"]["self"])
        before = worker.cpu_times()
        site.worker.process.send_signal(signal.SIGCONT)
        while not all(http.get(job).json()["finished_at"] for job in jobs):
            time.sleep(5.0)  # each look is an answer with all photos of a job, which costs the same cores
        after = worker.cpu_times()
        answered = [photo["answered_at"] for job in jobs for photo in http.get(job).json()["photos"]]
    times = sorted(datetime.fromisoformat(moment).timestamp() for moment in answered)
    cpu_ms = 1000 * (after.user + after.system - before.user - before.system) / len(photos)
    return (len(times) - 1) / (times[-1] - times[0]), cpu_ms


def main() -> None:
    """Parse the command line, measure in turn, print each round and the medians."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--detector", type=Path, help="model dir (default: a tiny one)")
    parser.add_argument("--photos", type=Path, help="folder of photos (default: small drawn ones)")
    parser.add_argument("--count", type=int, default=500, help="photos of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=16, help="photos at once (default: %(default)s)")
    args = parser.parse_args()
    photos, ratios = photos_of(args.photos, args.count), []
    with tempfile.TemporaryDirectory(prefix="drain-") as folder:
        more = {"photos_in_flight": args.in_flight, "requests_per_minute": 1_000_000}
        site = Site(Path(folder), detector=args.detector, **more)
        try:
            for part in (site.redis, site.predictor, site.gateway, site.worker):
                part.start()
            asyncio.run(ask_directly(site, photos[:50], args.in_flight))  # warm
            for number in range(args.rounds):
                alone = asyncio.run(ask_directly(site, photos, args.in_flight))
                drained, cpu_ms = drain(site, photos)
                ratios.append(drained / alone)
                print(
                    f"round {number}: alone {alone:.2f}/s, drained {drained:.2f}/s, {ratios[-1]:.3f}; "
                    f"the worker used {cpu_ms:.1f} ms of CPU a photo",
                    flush=True,
                )
        finally:
            site.stop()
    print(
        f"median of {len(ratios)} rounds of {args.count} photos: {statistics.median(ratios):.3f}; goal {GOAL}"
    )


if __name__ == "__main__":
    main()

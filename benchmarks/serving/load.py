"""A load generator for predictors, with a closed or an open loop.

    python -m benchmarks.serving.load --photos runs/serving/photos/shelf-detector --concurrency 8
    python -m benchmarks.serving.load --photos photos --model bin-counter --way grpc --rate 40 --seconds 30

Closed: as many clients as `--concurrency`, each of which asks again as soon as it has its answer. Open:
requests come at random moments, `--rate` a second on average, whether or not earlier ones were answered.
Their times are drawn before the load begins, and a latency counts from then: a server that stalls makes all
that come meanwhile late, and so does a client that cannot keep up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Coroutine, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.samples import Samples
from benchmarks.serving.ways import WAYS, Client, client_of

MAX_REQUESTS = 100_000
Result = TypeVar("Result")


def main() -> None:
    """Load, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--http_port", type=int, default=8080, help="(default: %(default)s)")
    parser.add_argument("--grpc_port", type=int, default=8081, help="(default: %(default)s)")
    parser.add_argument("--model", default="shelf-detector", help="its name in URLs (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, default="v2-binary", help="(default: %(default)s)")
    parser.add_argument("--photos", type=Path, required=True, help="folder of encoded photos")
    parser.add_argument("--concurrency", type=int, default=1, help="closed loop (default: %(default)s)")
    parser.add_argument("--rate", type=float, help="open loop: requests a second")
    parser.add_argument("--seconds", type=float, default=10, help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=MAX_REQUESTS, help="at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the open loop (default: %(default)s)")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(options.photos.iterdir())]
    messages = [WAYS[options.way](options.model, photo) for photo in photos]
    print(json.dumps(run(_load(options, messages)).summary(), indent=2))


async def _load(options: argparse.Namespace, messages: Sequence[bytes]) -> Samples:
    client = client_of(options.way, options.http_port, options.grpc_port)
    try:
        if not options.rate:
            return await closed_loop(client, messages, options.concurrency, options.seconds, options.requests)
        arrivals = poisson_arrivals(options.rate, options.seconds, options.seed)[: options.requests]
        return await open_loop(client, messages, arrivals)
    finally:
        await client.close()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` on the loop in C that the servers have too."""
    import uvloop

    return uvloop.run(work)


async def closed_loop(
    client: Client, messages: Sequence[bytes], concurrency: int, seconds: float, requests: int = MAX_REQUESTS
) -> Samples:
    """Keep `concurrency` requests under way for `seconds`, or until `requests` were sent; let them end."""
    samples, turns = Samples(), islice(count(), requests)
    begun, cpu = time.perf_counter(), time.process_time()

    async def ask_again_and_again() -> None:
        while (sent := time.perf_counter() - begun) < seconds and (turn := next(turns, None)) is not None:
            answer = await client.ask(messages[turn % len(messages)])
            samples.add(sent, sent, time.perf_counter() - begun, answer.code)

    await asyncio.gather(*(ask_again_and_again() for _ in range(concurrency)))
    samples.seconds = time.perf_counter() - begun
    samples.client_cpu = time.process_time() - cpu
    return samples


async def open_loop(client: Client, messages: Sequence[bytes], arrivals: NDArray[np.float64]) -> Samples:
    """Send a request at each of `arrivals` (n,), s from now, ascending; end with the last answer."""
    samples, waiting = Samples(), set()
    begun, cpu = time.perf_counter(), time.process_time()

    async def ask(number: int, intended: float) -> None:
        sent = time.perf_counter() - begun
        answer = await client.ask(messages[number % len(messages)])
        samples.add(intended, sent, time.perf_counter() - begun, answer.code)

    for number, intended in enumerate(arrivals.tolist()):
        await asyncio.sleep(max(begun + intended - time.perf_counter(), 0))
        task = asyncio.create_task(ask(number, intended))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)
    samples.seconds = time.perf_counter() - begun
    samples.client_cpu = time.process_time() - cpu
    return samples


def poisson_arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """When requests come, s from the start, ascending, all below `seconds`: `rate` a second on average."""
    rng = np.random.default_rng(seed)
    # as many as will do but for one case in a billion: six standard deviations above the mean
    enough = int(rate * seconds + 6 * np.sqrt(rate * seconds) + 20)
    times = rng.exponential(1 / rate, enough).cumsum()
    return times[times < seconds]


if __name__ == "__main__":
    main()

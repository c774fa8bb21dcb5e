"""Five times as many requests as the predictor can answer: what it still answers, and how it refuses.

    python -m benchmarks.serving.overload --work runs/serving
    python -m benchmarks.serving.overload --models bin-counter --seconds 5 --rounds 1

In turn, a closed loop that finds the saturation and an open loop at `--times` of it. Goodput counts good
answers once the queue is full. A probe sends the head of a request and none of its body, ten times a second:
a 429 that comes all the same was sent before the body was read. Goals: goodput over saturation at least .95
for the detector and .85 for the counter, on two cores; refusals within 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.http_client import HttpClient, connect
from benchmarks.serving.load import closed_loop, open_loop, poisson_arrivals, run
from benchmarks.serving.samples import GOOD, Samples, merge, percentile
from benchmarks.serving.sections import save_section
from benchmarks.serving.servers import Running, our_server, started
from benchmarks.serving.ways import WAYS
from benchmarks.serving.workload import BINS, SHELVES, model_of, photos_of

GOALS = {SHELVES: 0.95, BINS: 0.85}
GOAL_MS = 50
CONCURRENCY = 16
PROBE_PAUSE_SECONDS = 0.1
PROBE_WAIT_SECONDS = 1.0
WARM_SHARE = 0.2  # of a load, until the queue is full


def main() -> None:
    """Load, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--models", nargs="+", choices=(SHELVES, BINS), default=[SHELVES, BINS])
    parser.add_argument("--times", type=float, default=5, help="of saturation (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15, help="of each load (default: %(default)s)")
    options = parser.parse_args()
    rows = [row_of(model, options) for model in options.models]
    text = (
        f"{options.rounds} rounds in turn of {options.seconds:g} s: a closed loop with {CONCURRENCY} clients"
        f" and an open one at {options.times:g} times its rate. Goals: goodput {GOALS[SHELVES]} (detector)"
        f" and {GOALS[BINS]} (counter) of saturation, refusals within {GOAL_MS} ms, before the body."
    )
    save_section(options.work, "overload", text, rows)


def row_of(model: str, options: argparse.Namespace) -> dict[str, object]:
    """One model's row of the table."""
    photos = photos_of(options.work, model)
    messages = [WAYS["v2-binary"](model, photo) for photo in photos]
    server = our_server(model, model_of(options.work, model))
    rates, goodputs, loads, probes = [], [], [], []
    with started(server, photos[0], options.work / "logs") as running:
        for number in range(options.rounds):
            rates.append(run(_saturate(running, messages, options.seconds)).summary()["rps"])
            arrivals = poisson_arrivals(options.times * rates[-1], options.seconds, seed=number)
            samples, found = run(_overload(running, messages, arrivals, options.seconds))
            goodputs.append(_goodput(samples, options.seconds))
            loads.append(samples)
            probes += found
    summary = merge(loads).summary()
    refused = np.concatenate([_since_sent(samples, "429") for samples in loads])
    early = [seconds for code, seconds in probes if code == "429"]
    slowest = percentile(np.array(early), 99)
    ratios = [goodput / rate for goodput, rate in zip(goodputs, rates, strict=True)]
    return {
        "model": model,
        "saturation, 1/s": f"{np.median(rates):.1f}",
        "goodput / saturation": f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        "codes": ", ".join(f"{code} {n}" for code, n in sorted(summary["codes"].items())),
        "429 p50, p99, ms": f"{1e3 * percentile(refused, 50):.0f}, {1e3 * percentile(refused, 99):.0f}",
        "429 before the body": f"{len(early)} of {len(probes)} probes, p99 {1e3 * slowest:.0f} ms",
        "good p99, ms": f"{summary['p99']:.0f}",
        "client, ms a request": f"{summary['client_ms']:.2f}",
    }


async def _saturate(running: Running, messages: Sequence[bytes], seconds: float) -> Samples:
    client = HttpClient(running.http_port)
    try:
        return await closed_loop(client, messages, CONCURRENCY, seconds)
    finally:
        await client.close()


async def _overload(
    running: Running, messages: Sequence[bytes], arrivals: np.ndarray, seconds: float
) -> tuple[Samples, list[tuple[str, float]]]:
    client = HttpClient(running.http_port)
    probing = asyncio.create_task(_probe(running.http_port, messages[0], seconds))
    try:
        return await open_loop(client, messages, arrivals), await probing
    finally:
        await client.close()


async def _probe(port: int, message: bytes, seconds: float) -> list[tuple[str, float]]:
    """Codes and seconds of requests whose body never comes; no code for those that were let in."""
    head, found = message[: message.index(b"\r\n\r\n") + 4], []
    await asyncio.sleep(WARM_SHARE * seconds)
    end = time.perf_counter() + (1 - WARM_SHARE) * seconds - PROBE_WAIT_SECONDS
    while time.perf_counter() < end:
        connection = await connect("127.0.0.1", port)
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(PROBE_WAIT_SECONDS):
                code = (await connection.ask(head)).code
        except TimeoutError:
            code = ""
        found.append((code, time.perf_counter() - sent))
        connection.close()
        await asyncio.sleep(PROBE_PAUSE_SECONDS)
    return found


def _goodput(samples: Samples, seconds: float) -> float:
    """Good answers per second, between the filling of the queue and the end of the arrivals."""
    ended, begin = np.array(samples.ended), WARM_SHARE * seconds
    good = np.isin(samples.codes, GOOD) & (ended >= begin) & (ended < seconds)
    return float(good.sum() / (seconds - begin))


def _since_sent(samples: Samples, code: str) -> Any:
    """Seconds (n,) from sending to the end: what the client was late is not the server's."""
    return (np.array(samples.ended) - np.array(samples.sent))[np.array(samples.codes) == code]


if __name__ == "__main__":
    main()

"""Requests per second of the protocol alone: binary JPEGs to ours, base64 to KServe's own server.

    python -m benchmarks.serving.wire --work runs/serving

Nothing else should cost anything. KServe's model counts bytes. Ours is a counter of 1 kB that averages a
photo of 64 px, decoded and checked like any other, which is blown up to 500 KB by segments that decoders
skip. Both get the same photo, in turn; KServe's by v1 and by v2, and the faster one counts. Goal: 2.5.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.serving.load import closed_loop, run
from benchmarks.serving.sections import save_section
from benchmarks.serving.servers import Running, Server, our_server, started
from benchmarks.serving.ways import WAYS, client_of
from tests.tiny_counter import draw_bin, write_model_dir

GOAL = 2.5
SIZE = 500_000
SEGMENT = 65_000
MODEL = "wire"
OURS = ("v2-binary", "grpc", "v1-raw")
STOCK = ("v1-base64", "v2-base64")


def main() -> None:
    """Load in turn, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of each load (default: %(default)s)")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8])
    options = parser.parse_args()
    photo = padded_photo(SIZE)
    ours = our_server(MODEL, write_model_dir(options.work / "models/tiny"))
    module = "benchmarks.serving.peers.kserve_bytes"
    stock = Server("stock KServe", (sys.executable, "-m", module, "--model", MODEL), "v1-base64", MODEL)
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with started(ours, photo, options.work / "logs") as a, started(stock, photo, options.work / "logs") as b:
        for _ in range(options.rounds):
            for concurrency in options.concurrency:
                for running, way in [*((a, way) for way in OURS), *((b, way) for way in STOCK)]:
                    summary = load(running, way, photo, concurrency, options.seconds)
                    found.setdefault((way, concurrency), []).append(summary)
    rows = [row for concurrency in options.concurrency for row in _rows(found, concurrency)]
    size = len(photo) / 1e3
    text = (
        f"{options.rounds} rounds in turn of {options.seconds:g} s, a photo of {size:.0f} KB. Goal: {GOAL}."
    )
    save_section(options.work, "wire", text, rows)


def padded_photo(size: int) -> bytes:
    """A JPEG of 64 px that is `size` bytes long: comments stand between its first marker and the rest."""
    _, encoded = cv2.imencode(".jpg", draw_bin(3))
    photo = encoded.tobytes()
    rng, parts, missing = np.random.default_rng(0), [photo[:2]], size - len(photo)
    while missing > 4:
        length = min(missing - 2, SEGMENT)
        parts.append(b"\xff\xfe" + length.to_bytes(2, "big") + rng.bytes(length - 2))
        missing -= length + 2
    return b"".join([*parts, photo[2:]])


def load(running: Running, way: str, photo: bytes, concurrency: int, seconds: float) -> dict[str, Any]:
    """The summary of one closed loop."""

    async def work() -> dict[str, Any]:
        client = client_of(way, running.http_port, running.grpc_port)
        try:
            return (await closed_loop(client, [WAYS[way](MODEL, photo)], concurrency, seconds)).summary()
        finally:
            await client.close()

    return run(work())


def _rows(found: dict[tuple[str, int], list[dict[str, Any]]], concurrency: int) -> list[dict[str, object]]:
    rates = {way: [summary["rps"] for summary in found[way, concurrency]] for way in (*OURS, *STOCK)}
    best = max(STOCK, key=lambda way: statistics.median(rates[way]))
    rows: list[dict[str, object]] = []
    for way, each in rates.items():
        ratios = [a / b for a, b in zip(each, rates[best], strict=True)]
        summaries = found[way, concurrency]
        codes = {code for summary in summaries for code in summary["codes"]}
        rows.append(
            {
                "server": f"{'ours' if way in OURS else 'stock KServe'}, {way}, c={concurrency}",
                "requests per second": f"{statistics.median(each):.0f}",
                "over stock base64": _range(ratios),
                "p50, ms": f"{statistics.median(summary['p50'] for summary in summaries):.2f}",
                "client, ms a request": f"{statistics.median(s['client_ms'] for s in summaries):.2f}",
                "codes": ", ".join(sorted(codes)),
            }
        )
    return rows


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()

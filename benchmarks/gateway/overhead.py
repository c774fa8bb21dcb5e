"""What the gateway adds to a predictor: the same photos asked of the predictor alone, and through a gateway.

    python -m benchmarks.gateway.overhead --model_dir runs/demo/model
    python -m benchmarks.gateway.overhead --model_dir DIR --photo shelf.jpg --requests 300

Both are processes of their own on the loopback device, with records in SQLite and photos in a folder. One
client asks one of them at a time, in turn, each request with a photo that neither has seen. Prints one JSON
object: milliseconds of both at p50, and of the difference of neighbours; CPU milliseconds of each process.
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from serving.gateway.access import Role, add_token
from serving.gateway.predictors import Predictors
from serving.gateway.records.tables import Task
from serving.gateway.settings import load_gateway_settings
from tests.ports import free_ports

WARM_UP = 10
START_S = 120
SIZE = (1920, 1080)
Ask = Callable[[bytes], Awaitable[None]]


def main() -> None:
    """Start both, measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--model_dir", type=Path, required=True, help="of a shelf detector")
    parser.add_argument("--photo", type=Path, help="a JPEG (default: noise that is smoothed, 1920x1080)")
    parser.add_argument("--requests", type=int, default=200, help="of each kind (default: %(default)s)")
    options = parser.parse_args()
    photo = options.photo.read_bytes() if options.photo else _draw()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_measure(Path(folder), options.model_dir, photo, options.requests), indent=2))


def _draw() -> bytes:
    """A JPEG of about the size that a phone makes of 1080p: half a megabyte."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def numbered(photo: bytes, number: int) -> bytes:
    """The same JPEG with a comment, so that it is another file."""
    comment = b"photo %d" % number
    return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + photo[2:]


def _measure(folder: Path, model_dir: Path, photo: bytes, requests: int) -> dict[str, Any]:
    http, grpc, port = free_ports(3)
    token = add_token(folder / "tokens.yaml", "benchmark", Role.OPERATOR)
    settings = {
        "database": f"sqlite:///{folder}/records.db",
        "photos": str(folder / "photos"),
        "tokens": str(folder / "tokens.yaml"),
        "shelves_url": f"http://127.0.0.1:{http}",
        "requests_per_minute": "1000000",
    }
    env = {f"STOCKTAKE_GATEWAY_{name.upper()}": value for name, value in settings.items()}
    predictor = ["serving.predictors", f"--model=shelf-detector={model_dir}"]
    predictor += [f"--http_port={http}", f"--grpc_port={grpc}", "--drain_seconds=0"]
    gateway = ["serving.gateway", "serve", f"--port={port}"]
    with (
        _running(folder, predictor, {}, f"http://127.0.0.1:{http}/v2/health/ready") as alone,
        _running(folder, gateway, env, f"http://127.0.0.1:{port}/readyz") as before,
    ):
        found = asyncio.run(
            _ask_in_turn(settings, f"http://127.0.0.1:{port}", token, photo, requests, alone, before)
        )
    return {"photo_bytes": len(photo), "requests_of_each": requests, "cores": os.cpu_count(), **found}


@contextmanager
def _running(folder: Path, module: list[str], env: dict[str, str], ready: str) -> Iterator[psutil.Process]:
    with (folder / f"{module[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], env={**os.environ, **env}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                if httpx.get(ready, timeout=5).is_success:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / f"{module[0]}.log").read_text()[-2000:])
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


async def _ask_in_turn(
    settings: dict[str, str], url: str, token: str, photo: bytes, requests: int, *processes: psutil.Process
) -> dict[str, Any]:
    direct = Predictors(load_gateway_settings(**settings))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:

        async def alone(data: bytes) -> None:
            await direct.infer(Task.SHELVES, data)

        async def through(data: bytes) -> None:
            (await client.post("/api/photos?task=shelves&store=s&bay=b", content=data)).raise_for_status()

        asks: dict[str, Ask] = {"alone": alone, "through": through}
        seconds: dict[str, list[float]] = {name: [] for name in asks}
        cpu = {name: np.zeros(len(processes)) for name in asks}
        for turn in range(requests + WARM_UP):
            for number, (name, ask) in enumerate(asks.items()):
                data, used, began = numbered(photo, 2 * turn + number), _cpu(processes), time.perf_counter()
                await ask(data)
                if turn >= WARM_UP:
                    seconds[name].append(time.perf_counter() - began)
                    cpu[name] += _cpu(processes) - used
        await direct.close()
    gaps = [after - before for before, after in zip(seconds["alone"], seconds["through"], strict=True)]
    return {
        "alone_p50_ms": _p50_ms(seconds["alone"]),
        "through_p50_ms": _p50_ms(seconds["through"]),
        "difference_of_p50_ms": round(_p50_ms(seconds["through"]) - _p50_ms(seconds["alone"]), 2),
        "p50_of_differences_ms": _p50_ms(gaps),
        "cpu_ms_per_request": {
            name: dict(
                zip(("predictor", "gateway"), (spent / requests * 1000).round(2).tolist(), strict=True)
            )
            for name, spent in cpu.items()
        },
    }


def _cpu(processes: tuple[psutil.Process, ...]) -> "np.ndarray[Any, Any]":
    """Seconds of user and system that each has used, in ticks of 10 ms, which many requests even out."""
    return np.array([times.user + times.system for times in (each.cpu_times() for each in processes)])


def _p50_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)


if __name__ == "__main__":
    main()

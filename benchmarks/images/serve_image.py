"""Serves both models from the root of a built predictor image: right answers, and how long the first takes.

    python -m benchmarks.images.serve_image --rounds 5 --entrypoint python -m serving.predictors

`serve_image.sh` runs it inside the image. In fp32, bf16 and int8, and in fp32 by ONNX Runtime, REST and gRPC
must say of each photo what the model says without a server. Then each model is started in turn, from the
start of the entry point to the first right answer over v2 REST, which is asked for every 20 ms: with the
image's files in the page cache, and after they were dropped from it. The processor seconds until then are
what a start costs on a machine that has other work, too, where it takes longer than on one that has none.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks.serving.answers import read_answer
from benchmarks.serving.http_client import HttpClient
from benchmarks.serving.load import run
from benchmarks.serving.offline import Reference, difference, references
from benchmarks.serving.servers import Running, Server, our_server, started
from benchmarks.serving.ways import v2_binary
from serving.predictors.placeholders import placeholders
from stocktake.runtime import precisions_here

SHELVES, BINS = "shelf-detector", "bin-counter"
GOAL_SECONDS = 5.0
LOGS = Path("/tmp/logs")
FILES = ("/opt/stocktake", "/app", "/usr/lib")  # of the image, that a server may read


def main() -> None:
    """Ask, start, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--models", type=Path, default=Path("/mnt/models"), help="(default: %(default)s)")
    parser.add_argument("--photos", type=Path, default=Path("/mnt/photos"), help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="starts of each kind (default: %(default)s)")
    parser.add_argument("--entrypoint", nargs=argparse.REMAINDER, required=True, help="of the image")
    options = parser.parse_args()
    known = {precision: _references(options, precision) for precision in sorted(precisions_here())}
    for precision, expected in known.items():
        _check_both(options, expected, {"STOCKTAKE_PRECISION": precision})
    _check_both(options, known["fp32"], {"STOCKTAKE_PRECISION": "fp32", "STOCKTAKE_ENGINE": "onnxruntime"})
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"cold starts on {cores} cores, with a load of {load:.1f} before")
    for model in (SHELVES, BINS):
        _cold_starts(options, model)


def _photos(options: argparse.Namespace, model: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((options.photos / model).iterdir())]


def _references(options: argparse.Namespace, precision: str | None) -> dict[str, list[list[Reference]]]:
    """For both models, what they say of each photo without a server."""
    return {
        model: references(options.models / model, options.photos / model, precision)
        for model in (SHELVES, BINS)
    }


def _server(options: argparse.Namespace, models: list[str], environment: dict[str, str]) -> Server:
    named = [part for model in models for part in ("--model", f"{model}={options.models / model}")]
    server = our_server(models[0], options.models / models[0])
    return replace(server, command=(*options.entrypoint, *named), environment=environment)


def _check_both(
    options: argparse.Namespace, known: dict[str, list[list[Reference]]], environment: dict[str, str]
) -> None:
    """Both models in one server, every photo, over REST and gRPC; it then ends well when it is told to."""
    server = _server(options, list(known), environment)
    with started(server, _photos(options, SHELVES)[0], LOGS) as running:
        for model, expected in known.items():
            photos = _photos(options, model)
            for way, answers in (("REST", _over_rest), ("gRPC", _over_grpc)):
                for number, answer in enumerate(answers(running, model, photos)):
                    _compare(answer, expected[number], f"{environment} {model} {way} photo {number}")
    if running.process.returncode:
        raise SystemExit(f"{environment}: the server ended with {running.process.returncode}")
    print(f"{' '.join(environment.values())}: {len(photos)} photos for each model, REST and gRPC right")


def _compare(answer: dict[str, Any], known: list[Reference], what: str) -> None:
    wrong = difference(answer, known)
    if wrong:
        raise SystemExit(f"{what}: {wrong}")


def _over_rest(running: Running, model: str, photos: list[bytes]) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        client = HttpClient(running.http_port)
        answers = [await client.ask(v2_binary(model, photo)) for photo in photos]
        await client.close()
        return [read_answer("v2-binary", answer.body, answer.headers) for answer in answers]

    return run(ask())


def _over_grpc(running: Running, model: str, photos: list[bytes]) -> Iterator[dict[str, Any]]:
    with placeholders():  # the image has neither pandas nor kubernetes
        from kserve import InferInput, InferRequest, InferResponse
        from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        for photo in photos:
            tensor = InferInput("image", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([photo], np.object_), binary_data=True)
            response = InferResponse.from_grpc(infer(InferRequest(model, [tensor]).to_grpc()))
            yield {output.name: output.as_numpy() for output in response.outputs}


def _cold_starts(options: argparse.Namespace, model: str) -> None:
    """Starts with and without the image's files in the page cache, in turn."""
    photo, known = _photos(options, model)[0], _references(options, None)[model][0]
    found: dict[str, list[tuple[float, ...]]] = {"cached": [], "not cached": []}
    for _ in range(options.rounds):
        for kind, rows in found.items():
            if kind == "not cached":
                _drop_from_page_cache(options.models)
            with started(_server(options, [model], {}), photo, LOGS) as running:
                times = psutil.Process(running.process.pid).cpu_times()
                answer = running.first_answer
                _compare(read_answer(running.server.way, answer.body, answer.headers), known, model)
                rows.append((running.seconds_to_answer, times.user + times.system, running.rss() / 1e6))
    for kind, rows in found.items():
        seconds, processor, megabytes = ([row[column] for row in rows] for column in range(3))
        print(
            f"{model}, {kind}: {min(seconds):.2f} / {statistics.median(seconds):.2f} / {max(seconds):.2f} s"
            f" (best, median, worst of {len(rows)}; goal {GOAL_SECONDS}), {statistics.median(processor):.2f}"
            f" processor seconds, {statistics.median(megabytes):.0f} MB",
            flush=True,
        )


def _drop_from_page_cache(models: Path) -> None:
    for folder in (*FILES, models):
        for path in Path(folder).rglob("*"):
            if path.is_file() and os.access(path, os.R_OK):
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()

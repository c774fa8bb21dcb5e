"""Ask a running predictor about photos with KServe's own clients: python -m serving.ask photo.jpg."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.predictors.settings import read_token
from stocktake.errors import StoreError
from stocktake.files import read_file
from stocktake.program import run_program

EXAMPLES = """\
examples:
  what is missing on shelves:
    python -m serving.ask photo.jpg
    python -m serving.ask --grpc localhost:8081 *.jpg

  what is in bins, and whether there can be 4 items in each:
    python -m serving.ask --bins --expected-quantity 4 bin.jpg
"""
TIMEOUT_S = 120.0
HTTP = "http://localhost:8080"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor says of one photo; boxes are xyxy px of the photo after EXIF rotation, best first."""

    report: dict[str, Any]  # products, tiers, osa, voids
    boxes: np.ndarray  # (P, 4) float32
    scores: np.ndarray  # (P,) float32


@dataclass(frozen=True, slots=True)
class Count:
    """What a predictor says of the bin on one photo; the last two are None where no quantity was sent."""

    count: int
    probabilities: np.ndarray  # (K,) float32, of the counts that the model knows
    match_probability: float | None = None
    verdict: str | None = None  # accept | reject | ask


async def ask(
    photos: Sequence[bytes],
    http: str = HTTP,
    grpc: str | None = None,
    model: str = "shelf-detector",
    token: str | None = None,
) -> list[Answer]:
    """Send photos of shelves in one v2 request; return an answer for each.

    Args:
        photos: whole JPEG, PNG or WebP files.
        http: base URL of REST, where `grpc` is None; the files travel as a binary tensor.
        grpc: host:port of gRPC.
        model: name that the predictor serves the model under.
        token: for a predictor that asks for one.

    Raises:
        StoreError: the predictor can't be reached, or refuses; its answer is in the message.
    """
    wanted = ("report", "boxes", "scores", "image_index")
    found = await _infer(photos, None, wanted, http, grpc, model, token)
    boxes, of_photo = found["boxes"].reshape(-1, 4), found["image_index"]
    return [
        Answer(json.loads(report), boxes[of_photo == number], found["scores"][of_photo == number])
        for number, report in enumerate(found["report"])
    ]


async def count(
    photos: Sequence[bytes],
    quantities: Sequence[int] | None = None,
    http: str = HTTP,
    grpc: str | None = None,
    model: str = "bin-counter",
    token: str | None = None,
) -> list[Count]:
    """Send photos of bins in one v2 request; return a count for each.

    Args:
        photos: whole JPEG, PNG or WebP files.
        quantities: what was recorded for each photo, to be verified.
        http, grpc, model, token: as in `ask`.

    Raises:
        StoreError: as in `ask`.
    """
    found = await _infer(photos, quantities, None, http, grpc, model, token)
    counts = [int(value) for value in found["count"]]
    if quantities is None:
        return [Count(*pair) for pair in zip(counts, found["probabilities"], strict=True)]
    matches = [float(value) for value in found["match_probability"]]
    verdicts = [value.decode() if isinstance(value, bytes) else value for value in found["verdict"]]
    rows = zip(counts, found["probabilities"], matches, verdicts, strict=True)
    return [Count(*row) for row in rows]


async def _infer(
    photos: Sequence[bytes],
    quantities: Sequence[int] | None,
    outputs: Sequence[str] | None,
    http: str,
    grpc: str | None,
    model: str,
    token: str | None,
) -> dict[str, np.ndarray]:
    """The outputs of a v2 request by name; all that there are where `outputs` is None."""
    import httpx
    from grpc import RpcError

    with _no_arguments():
        from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
        from kserve.protocol.infer_type import RequestedOutput

    tensors = [InferInput("image", [len(photos)], "BYTES")]
    tensors[0].set_data_from_numpy(np.array([*photos, None], np.object_)[:-1], binary_data=True)
    if quantities is not None:
        tensors.append(InferInput("expected_quantity", [len(quantities)], "INT32"))
        tensors[1].set_data_from_numpy(np.array(quantities, np.int32), binary_data=True)
    wanted = None if outputs is None else [RequestedOutput(name) for name in outputs]
    request = InferRequest(model, tensors, request_outputs=wanted)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        if grpc:
            async with InferenceGRPCClient(grpc, timeout=TIMEOUT_S) as client:
                response = await client.infer(request, headers=tuple(headers.items()))
        else:
            async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=TIMEOUT_S)) as client:
                response = await client.infer(http, request, model_name=model, headers=headers)
    except (httpx.HTTPError, RpcError) as error:
        raise StoreError(f"the predictor at {grpc or http} did not answer: {error}") from error
    return {output.name: output.as_numpy() for output in response.outputs}


@contextmanager
def _no_arguments() -> Iterator[None]:
    """KServe parses the command line when it is imported, and knows other flags than the program's."""
    given = sys.argv
    sys.argv = given[:1]
    try:
        yield
    finally:
        sys.argv = given


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON object per photo; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.ask",
        description="Ask a running predictor about photos of shelves or bins, over v2 REST or gRPC.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG, PNG or WebP file")
    parser.add_argument("--http", default=HTTP, metavar="URL", help="REST; default %(default)s")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="ask over gRPC instead")
    parser.add_argument("--bins", action="store_true", help="the photos show bins: count what is in them")
    parser.add_argument(
        "--expected-quantity", type=int, metavar="N", help="with --bins: what was recorded for each photo"
    )
    parser.add_argument("--model", metavar="NAME", help="default shelf-detector, or bin-counter with --bins")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="with the token that it asks for")
    options = parser.parse_args(argv)
    if options.expected_quantity is not None:
        if not options.bins:
            parser.error("--expected-quantity goes with --bins")
        if not 0 <= options.expected_quantity < 2**31:
            parser.error(f"--expected-quantity {options.expected_quantity}: give a number of items")
    return run_program("ask", lambda: _print_answers(options))


def _print_answers(options: argparse.Namespace) -> None:
    photos = [read_file(path) for path in options.photos]
    token = read_token("token-file", options.token_file)
    model = options.model or ("bin-counter" if options.bins else "shelf-detector")
    asked = (_count if options.bins else _ask)(options, photos, model, token)
    for path, answer in zip(options.photos, asyncio.run(asked), strict=True):
        print(json.dumps({"photo": path.name, **answer}))


async def _ask(
    options: argparse.Namespace, photos: list[bytes], model: str, token: str | None
) -> list[dict[str, Any]]:
    answers = await ask(photos, options.http, options.grpc, model, token)
    return [answer.report for answer in answers]


async def _count(
    options: argparse.Namespace, photos: list[bytes], model: str, token: str | None
) -> list[dict[str, Any]]:
    recorded = None if options.expected_quantity is None else [options.expected_quantity] * len(photos)
    counts = await count(photos, recorded, options.http, options.grpc, model, token)
    return [{**asdict(each), "probabilities": each.probabilities.tolist()} for each in counts]


if __name__ == "__main__":
    sys.exit(main())

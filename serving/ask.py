"""Ask a running predictor about photos with KServe's own clients: python -m serving.ask photo.jpg."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stocktake.errors import StoreError
from stocktake.files import read_file
from stocktake.program import run_program

EXAMPLES = """\
examples:
  python -m serving.ask photo.jpg
  python -m serving.ask --grpc localhost:8081 *.jpg
"""
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor says of one photo; boxes are xyxy px of the photo after EXIF rotation, best first."""

    report: dict[str, Any]  # products, tiers, osa, voids
    boxes: np.ndarray  # (P, 4) float32
    scores: np.ndarray  # (P,) float32


async def ask(
    photos: Sequence[bytes],
    http: str = "http://localhost:8080",
    grpc: str | None = None,
    model: str = "shelf-detector",
) -> list[Answer]:
    """Send photos in one v2 request; return an answer for each.

    Args:
        photos: whole JPEG, PNG or WebP files.
        http: base URL of REST, where `grpc` is None; the files travel as a binary tensor.
        grpc: host:port of gRPC.
        model: name that the predictor serves the model under.

    Raises:
        StoreError: the predictor can't be reached, or refuses; its answer is in the message.
    """
    import httpx
    from grpc import RpcError
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
    from kserve.protocol.infer_type import RequestedOutput

    tensor = InferInput("image", [len(photos)], "BYTES")
    tensor.set_data_from_numpy(np.array([*photos, None], np.object_)[:-1], binary_data=True)
    wanted = [RequestedOutput(name) for name in ("report", "boxes", "scores", "image_index")]
    request = InferRequest(model, [tensor], request_outputs=wanted)
    try:
        if grpc:
            async with InferenceGRPCClient(grpc, timeout=TIMEOUT_S) as client:
                response = await client.infer(request)
        else:
            async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=TIMEOUT_S)) as client:
                response = await client.infer(http, request, model_name=model)
    except (httpx.HTTPError, RpcError) as error:
        raise StoreError(f"the predictor at {grpc or http} did not answer: {error}") from error
    found = {output.name: output.as_numpy() for output in response.outputs}
    boxes, of_photo = found["boxes"].reshape(-1, 4), found["image_index"]
    return [
        Answer(json.loads(report), boxes[of_photo == number], found["scores"][of_photo == number])
        for number, report in enumerate(found["report"])
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON object per photo; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.ask",
        description="Ask a running predictor what is missing on photos, over v2 REST or gRPC.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG, PNG or WebP file")
    parser.add_argument(
        "--http", default="http://localhost:8080", metavar="URL", help="REST; default %(default)s"
    )
    parser.add_argument("--grpc", metavar="HOST:PORT", help="ask over gRPC instead")
    parser.add_argument("--model", default="shelf-detector", metavar="NAME", help="default %(default)s")
    options = parser.parse_args(argv)
    return run_program("ask", lambda: _print_answers(options))


def _print_answers(options: argparse.Namespace) -> None:
    photos = [read_file(path) for path in options.photos]
    answers = asyncio.run(ask(photos, options.http, options.grpc, options.model))
    for path, answer in zip(options.photos, answers, strict=True):
        print(json.dumps({"photo": path.name, **answer.report}))


if __name__ == "__main__":
    sys.exit(main())

"""What servers answer, whatever the way, as arrays by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

HEADER_LENGTH = "inference-header-content-length"
DTYPES = {"FP32": np.float32, "INT32": np.int32}


def read_answer(way: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The content of one answer about one photo: the v2 tensors, or the fields of a JSON report."""
    if way.startswith("grpc"):
        return _report_in(_read_grpc(body))
    if way == "v2-binary":
        return _read_binary(body, int((headers or {})[HEADER_LENGTH]))
    content = json.loads(body)
    if way == "v2-base64":
        return _report_in({output["name"]: output["data"] for output in content["outputs"]})
    if way.startswith("v1"):
        return dict(content["predictions"][0])
    return dict(content[0] if isinstance(content, list) else content)


def figure_of(answer: dict[str, Any]) -> int:
    """What a server has found: products on a shelf, or items in a bin."""
    if "count" in answer:
        return int(np.ravel(answer["count"])[0])
    if "products" in answer:
        return int(answer["products"])
    return len(np.ravel(answer["scores"]))


def _report_in(tensors: dict[str, Any]) -> dict[str, Any]:
    """Servers with a single BYTES output hold JSON in it."""
    if list(tensors) != ["report"]:
        return tensors
    return dict(json.loads(np.ravel(tensors["report"])[0]))


def _read_binary(body: bytes, json_length: int) -> dict[str, Any]:
    tensors, at = {}, json_length
    for output in json.loads(body[:json_length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = _tensor(body[at : at + size], output["datatype"], output["shape"])
        at += size
    return tensors


def _read_grpc(body: bytes) -> dict[str, Any]:
    from tritonclient.grpc import service_pb2

    response = service_pb2.ModelInferResponse.FromString(body)
    pairs = zip(response.outputs, response.raw_output_contents, strict=True)
    return {output.name: _tensor(raw, output.datatype, list(output.shape)) for output, raw in pairs}


def _tensor(raw: bytes, datatype: str, shape: list[int]) -> Any:
    if datatype in DTYPES:
        return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    texts, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        texts.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return texts

"""What clients get wrong: each kind as the bytes of a request, with the codes that would be right."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass

from benchmarks.serving.ways import grpc_raw, post, v1_base64, v1_raw, v2_base64, v2_binary

CLIENT_ERRORS = ("400", "404", "411", "413", "415", "422")
BUSY = ("429", "503", "504", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
GRPC_ERRORS = ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "OUT_OF_RANGE")


@dataclass(frozen=True)
class Bad:
    """A request that can't be answered; `codes` are right, and so is a busy server's refusal."""

    kind: str
    message: bytes
    codes: tuple[str, ...] = CLIENT_ERRORS
    grpc: bool = False


def bad_requests(model: str, photo: bytes) -> list[Bad]:
    """One of each kind, made from a good photo, a JPEG."""
    flipped = bytearray(photo)
    for place in range(len(photo) // 3, len(photo) // 2, 997):
        flipped[place] ^= 0x55
    infer = f"/v2/models/{model}/infer"
    return [
        Bad("truncated JPEG", v2_binary(model, photo[: len(photo) // 2])),
        Bad("flipped bits", v2_binary(model, bytes(flipped)), (*CLIENT_ERRORS, "200")),
        Bad("no photo at all", v1_raw(model, b"not a photo" * 1000)),
        Bad("an empty body", v1_raw(model, b"")),
        Bad("20,000 px square", v2_binary(model, huge_png())),
        Bad("unknown model", v2_binary("nobody", photo)),
        Bad("broken JSON", post(infer, b'{"inputs": [', Content_Type="application/json")),
        Bad("no inputs", post(infer, b'{"inputs": []}', Content_Type="application/json")),
        Bad("65 photos", _json(infer, {"inputs": [_tensor(["AAAA"] * 65)]})),
        Bad("no photos", _json(infer, {"inputs": [_tensor([])]})),
        Bad("wrong datatype", _json(infer, {"inputs": [{**_tensor(["AAAA"]), "datatype": "FP32"}]})),
        Bad("wrong shape", _json(infer, {"inputs": [{**_tensor(["AAAA"]), "shape": [7]}]})),
        Bad("not base64", v2_base64(model, b"x").replace(b'"eA=="', b'"e!=="')),
        Bad("v1 without instances", _json(f"/v1/models/{model}:predict", {"photos": []})),
        Bad("v1, half a photo", v1_base64(model, photo[:1000])),
        Bad(
            "wrong size of a tensor",
            v2_binary(model, photo).replace(b"binary_data_size", b"binary_data_sizf"),
        ),
        Bad("header length too long", _header_length(infer, photo, "99999999")),
        Bad("header length no number", _header_length(infer, photo, "ten")),
        Bad("gRPC, unknown model", grpc_raw("nobody", photo), GRPC_ERRORS, grpc=True),
        Bad("gRPC, half a photo", grpc_raw(model, photo[:1000]), GRPC_ERRORS, grpc=True),
        Bad("gRPC, no message", b"\xff" * 100, (*GRPC_ERRORS, "INTERNAL"), grpc=True),  # gRPC's own code
    ]


def huge_png(side: int = 20_000) -> bytes:
    """A PNG of a few bytes that would unpack to more than a gigabyte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def _tensor(data: list[str]) -> dict[str, object]:
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}


def _json(path: str, content: object) -> bytes:
    return post(path, json.dumps(content).encode(), Content_Type="application/json")


def _header_length(path: str, photo: bytes, length: str) -> bytes:
    return post(path, b"{}" + photo[:1000], Inference_Header_Content_Length=length)

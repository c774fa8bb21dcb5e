"""How a photo is put to a server: the bytes of a request, made before the clock runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from benchmarks.serving.grpc_client import GrpcClient
from benchmarks.serving.http_client import HttpClient

Client = HttpClient | GrpcClient
BOUNDARY = "9f2c6a1e"


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A whole HTTP request. Headers are named with underscores."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def v2_binary(model: str, photo: bytes) -> bytes:
    """The binary tensor extension, in both directions."""
    tensor = len(photo).to_bytes(4, "little") + photo
    described = {
        "name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(tensor)}
    }  # fmt: skip
    header = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    return post(
        f"/v2/models/{model}/infer",
        header + tensor,
        Content_Type="application/octet-stream",
        Inference_Header_Content_Length=str(len(header)),
    )


def v2_base64(model: str, photo: bytes) -> bytes:
    """JSON alone, the photo in base64."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [_text(photo)]}
    return _json(f"/v2/models/{model}/infer", {"inputs": [tensor]})


def v1_base64(model: str, photo: bytes) -> bytes:
    """KServe's v1."""
    return _json(f"/v1/models/{model}:predict", {"instances": [{"image": {"b64": _text(photo)}}]})


def v1_raw(model: str, photo: bytes) -> bytes:
    """The photo as the body."""
    return post(f"/v1/models/{model}:predict", photo, Content_Type="image/jpeg")


def predict_json(_model: str, photo: bytes) -> bytes:
    """What LitServe's examples send."""
    return _json("/predict", {"image": _text(photo)})


def predict_form(_model: str, photo: bytes) -> bytes:
    """A file of a form, as BentoML takes it."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
    return post("/predict", body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}")


def grpc_raw(model: str, photo: bytes) -> bytes:
    """A ModelInferRequest with raw contents."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="image", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(photo).to_bytes(4, "little") + photo)
    return bytes(request.SerializeToString())


def grpc_batched(model: str, photo: bytes) -> bytes:
    """As `grpc_raw`, for a server that wants a dimension for batches, as Triton does."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest.FromString(grpc_raw(model, photo))
    request.inputs[0].shape[:] = [1, 1]
    return bytes(request.SerializeToString())


WAYS: dict[str, Callable[[str, bytes], bytes]] = {
    "v2-binary": v2_binary,
    "v2-base64": v2_base64,
    "v1-base64": v1_base64,
    "v1-raw": v1_raw,
    "grpc": grpc_raw,
    "grpc-batched": grpc_batched,
    "predict-json": predict_json,
    "predict-form": predict_form,
}


def client_of(way: str, http_port: int, grpc_port: int) -> Client:
    """A client for that way. Made inside an event loop."""
    return GrpcClient(grpc_port) if way.startswith("grpc") else HttpClient(http_port)


def _text(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def _json(path: str, content: object) -> bytes:
    return post(path, json.dumps(content).encode(), Content_Type="application/json")

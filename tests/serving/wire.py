"""Requests as bytes, so that they can be wrong in every way; and how each refusal must look."""

import base64
import contextlib
import http.client
import json
import struct

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages

INFER = "/v2/models/shelf-detector/infer"
PREDICT = "/v1/models/shelf-detector:predict"
LENGTH = "Inference-Header-Content-Length"
MARK = "kumquat"  # is in every payload and must be in no answer
RUBBISH = base64.b64encode(MARK.encode() * 9).decode()
JPEG, JSON = {"Content-Type": "image/jpeg"}, {"Content-Type": "application/json"}


def tensor(**fields):
    """The input `image` as JSON has it, with some fields changed, and without those that are None."""
    known = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [RUBBISH], **fields}
    return {name: value for name, value in known.items() if value is not None}


def v2(**fields):
    """A whole request of one tensor."""
    return body([tensor(**fields)])


def body(inputs, **fields):
    return json.dumps({"id": "a-bad-request", "inputs": inputs, **fields}).encode()


def element(data):
    """One element of a binary BYTES tensor."""
    return struct.pack("<I", len(data)) + data


def binary(raw, size=None, tail=b"", length=None, **fields):
    """Body and headers of a request whose tensor is binary; `size` and `length` to be wrong."""
    size = len(raw) if size is None else size
    head = v2(**{"data": None, "parameters": {"binary_data_size": size}, **fields})
    return head + raw + tail, {LENGTH: str(len(head)) if length is None else length}


def grpc_request(model="shelf-detector", raw=(b"\7\0\0\0kumquat",), outputs=(), contents=None, **fields):
    """A ModelInferRequest; `contents` are typed ones, by the name of their field."""
    message = messages.ModelInferRequest.InferInputTensor(
        **{"name": "image", "shape": [1], "datatype": "BYTES", **fields}
    )
    if contents is not None:
        message.contents.CopyFrom(messages.InferTensorContents(**contents))
    return messages.ModelInferRequest(
        model_name=model,
        inputs=[message],
        raw_input_contents=raw,
        outputs=[messages.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
    )


def connect(port):
    """A connection that fails where the server has closed it, instead of opening anew."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.auto_open = 0
    return connection


def send(connection, method, path, content=b"", headers=None):
    """One request; returns the response and what it says, read to its end."""
    connection.request(method, path, content, headers or {})
    response = connection.getresponse()
    return response, response.read()


def check(connection, path, content, headers, status, message, method="POST"):
    """A request is refused as all are: the code, `{"error": …}` alone, no echo, and an open connection."""
    response, said = send(connection, method, path, content, headers)
    check_refusal(response, said, status, message)
    assert not response.will_close


def check_refusal(response, said, status, message=""):
    assert response.status == status, said
    assert list(json.loads(said)) == ["error"]
    assert message in json.loads(said)["error"]
    assert MARK not in said.decode()


@contextlib.contextmanager
def refused(code, message=""):
    """A gRPC call in this block is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    assert caught.value.code() == code
    assert message in caught.value.details()
    assert MARK not in caught.value.details()

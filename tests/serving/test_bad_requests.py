"""What a client may get wrong, and the answer to it: the right code, {"error": …}, and an open connection."""

import base64
import http.client
import json
import struct

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.serving.clients import ask

INFER = "/v2/models/shelf-detector/infer"
PREDICT = "/v1/models/shelf-detector:predict"
MARK = "kumquat"  # is in every payload and must be in no answer
RUBBISH = base64.b64encode(MARK.encode() * 9).decode()


def v2(**fields):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [RUBBISH], **fields}
    return json.dumps(
        {"id": "a-bad-request", "inputs": [{k: v for k, v in tensor.items() if v is not None}]}
    ).encode()


def binary(raw, size=None, shape=(1,), tail=b""):
    size = len(raw) if size is None else size
    head = v2(shape=list(shape), data=None, parameters={"binary_data_size": size})
    return head + raw + tail, {"Inference-Header-Content-Length": str(len(head))}


def element(data):
    return struct.pack("<I", len(data)) + data


V2_JSON = {
    "no body": (b"", 400, "body: Invalid JSON"),
    "broken json": (b'{"inputs": [kumquat', 400, "body: Invalid JSON"),
    "a list": (b'["kumquat"]', 400, "body: "),
    "no inputs": (b'{"id": "kumquat"}', 400, "inputs: Field required"),
    "empty inputs": (b'{"inputs": []}', 400, "inputs: "),
    "inputs of another type": (b'{"inputs": "kumquat"}', 400, "inputs: "),
    "no name": (v2(name=None), 400, "inputs.0.name: Field required"),
    "no shape": (v2(shape=None), 400, "inputs.0.shape: Field required"),
    "no data": (v2(data=None), 400, "inputs.0: give either 'data' or"),
    "a telling name": (v2(name=MARK, data=None), 400, "inputs.0: give either 'data' or"),
    "a telling parameter": (v2(parameters={MARK: []}), 400, "inputs.0.parameters.…"),
    "another name": (v2(name="picture"), 400, "called 'image'"),
    "another datatype": (v2(datatype="FP32"), 400, "datatype must be BYTES"),
    "unknown datatype": (v2(datatype="KUMQUAT"), 400, "datatype must be BYTES"),
    "negative size": (v2(shape=[-1]), 400, "inputs.0.shape.0: "),
    "fractional size": (v2(shape=[1.5]), 400, "inputs.0.shape.0: "),
    "text for a size": (v2(shape=["kumquat"]), 400, "inputs.0.shape.0: "),
    "size and data differ": (v2(shape=[2]), 400, "does not fit its shape"),
    "absurd size": (v2(shape=[2**62]), 400, "does not fit its shape"),
    "two dimensions": (v2(shape=[1, 1]), 400, "shape [N]"),
    "numbers for photos": (v2(data=[7]), 400, "element 0: is not text"),
    "null for a photo": (v2(data=[None]), 400, "element 0: is not text"),
    "not base64": (v2(data=["kumquat!"]), 400, "element 0: is not base64"),
    "beyond ascii": (v2(data=["kümquat"]), 400, "element 0: is not base64"),
    "not a photo": (v2(), 415, "photo 0: 63 bytes that are not a JPEG, PNG or WebP"),
    "no photo": (v2(shape=[0], data=[]), 400, "found 0 photos"),
    "too many photos": (v2(shape=[65], data=[RUBBISH] * 65), 400, "found 65 photos"),
    "unknown output": (
        json.dumps({"inputs": [json.loads(v2())["inputs"][0]], "outputs": [{"name": MARK}]}).encode(),
        400,
        "outputs: name some of boxes, scores",
    ),
    "an output twice": (
        json.dumps({"inputs": [json.loads(v2())["inputs"][0]], "outputs": [{"name": "boxes"}] * 2}).encode(),
        400,
        "each once",
    ),
    "two inputs": (
        json.dumps({"inputs": [json.loads(v2())["inputs"][0]] * 2}).encode(),
        400,
        "found 2 inputs",
    ),
}
V2_BINARY = {
    "size is short": (*binary(element(b"kumquat"), size=5, tail=b""), 400, "bytes follow the last input"),
    "size is long": (*binary(element(b"kumquat"), size=5000), 400, "binary_data_size does not fit"),
    "size is negative": (*binary(element(b"kumquat"), size=-1), 400, "binary_data_size does not fit"),
    "size is text": (*binary(element(b"kumquat"), size="kumquat"), 400, "binary_data_size does not fit"),
    "size is true": (*binary(element(b"kumquat"), size=True), 400, "binary_data_size does not fit"),
    "bytes follow": (*binary(element(b"kumquat"), tail=b"kumquat"), 400, "7 bytes follow the last input"),
    "length is cut": (*binary(b"\x07\0"), 400, "does not fit its shape"),
    "element is cut": (*binary(element(b"kumquat")[:-1]), 400, "does not fit its shape"),
    "length is huge": (*binary(b"\xff\xff\xff\xffkumquat"), 400, "does not fit its shape"),
    "one element for two": (*binary(element(b"kumquat"), shape=(2,)), 400, "does not fit its shape"),
    "two elements for one": (*binary(element(b"kumquat") * 2), 400, "does not fit its shape"),
    "not a photo": (*binary(element(b"kumquat")), 415, "photo 0: 7 bytes that are not"),
    "header length is text": (v2(), {"Inference-Header-Content-Length": MARK}, 400, "Content-Length"),
    "header length is negative": (v2(), {"Inference-Header-Content-Length": "-1"}, 400, "Content-Length"),
    "header length is absurd": (v2(), {"Inference-Header-Content-Length": "9" * 5000}, 400, "Content-Length"),
    "header length is too long": (v2(), {"Inference-Header-Content-Length": "99999"}, 400, "Content-Length"),
    "header length is short": (v2(), {"Inference-Header-Content-Length": "9"}, 400, "body: Invalid JSON"),
    "no header length": (binary(element(b"kumquat"))[0], {}, 400, "body: Invalid JSON"),
}
JPEG, JSON = {"Content-Type": "image/jpeg"}, {"Content-Type": "application/json"}
V1 = {
    "no body": (b"", JSON, 400, "the body is not JSON"),
    "broken json": (b"{kumquat", JSON, 400, "the body is not JSON"),
    "a list": (b'["kumquat"]', JSON, 400, "the body is not a JSON object"),
    "no instances": (b'{"kumquat": 1}', JSON, 400, "instances: there is no such list"),
    "instances of another type": (
        b'{"instances": {"kumquat": 1}}',
        JSON,
        400,
        'Expected "instances" to be a list',
    ),
    "no image": (b'{"instances": [{"kumquat": 1}]}', JSON, 400, "instances[0]: is not"),
    "no b64": (b'{"instances": [{"image": {"kumquat": ""}}]}', JSON, 400, "instances[0]: is not"),
    "b64 is a number": (
        b'{"instances": [{"image": {"b64": 7}}]}',
        JSON,
        400,
        "instances[0].image.b64: is not text",
    ),
    "not base64": (b'{"instances": [{"image": {"b64": "kumquat!"}}]}', JSON, 400, "b64: is not base64"),
    "no photos": (b'{"instances": []}', JSON, 400, "found 0 photos"),
    "not a photo": (
        json.dumps({"instances": [{"image": {"b64": RUBBISH}}]}).encode(),
        JSON,
        415,
        "photo 0: 63 bytes that are not",
    ),
    "body is not a photo": (b"kumquat", JPEG, 415, "photo 0: 7 bytes that are not"),
    "body is empty": (b"", JPEG, 415, "photo 0: 0 bytes that are not"),
    "photo of another type": (b"GIF89akumquat", {"Content-Type": "image/gif"}, 415, "photo 0: 13 bytes"),
}


@pytest.fixture(scope="module")
def connection(server):
    """One connection for all: it fails where the server has closed it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    connection.connect()
    connection.auto_open = 0
    yield connection
    connection.close()


def check(connection, path, body, headers, status, message, method="POST"):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read().decode()

    assert response.status == status, content
    assert list(json.loads(content)) == ["error"]
    assert message in json.loads(content)["error"]
    assert MARK not in content
    assert not response.will_close


@pytest.mark.parametrize("case", V2_JSON)
def test_v2_json(connection, case):
    body, status, message = V2_JSON[case]
    check(connection, INFER, body, JSON, status, message)


@pytest.mark.parametrize("case", V2_BINARY)
def test_v2_binary(connection, case):
    body, headers, status, message = V2_BINARY[case]
    check(connection, INFER, body, headers, status, message)


@pytest.mark.parametrize("case", V1)
def test_v1(connection, case):
    body, headers, status, message = V1[case]
    check(connection, PREDICT, body, headers, status, message)


def test_one_bad_photo_among_good_ones(connection, photos):
    data = [base64.b64encode(photo).decode() for photo in (photos["shelf"], photos["turned"][:-40])]

    check(connection, INFER, v2(shape=[2], data=data), JSON, 415, "photo 1: the jpeg is truncated")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v1/models/none:predict", 404),
        ("GET", "/v2/models/none/ready", 404),
        ("GET", "/v2/nowhere", 404),
        ("GET", INFER, 405),
    ],
)
def test_unknown_paths(connection, method, path, status):
    check(connection, path, v2(), JSON, status, "", method)


def test_bodies_beyond_the_limit_are_refused_unread(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    response = connection.getresponse()

    assert response.status == 413
    assert "larger than" in json.loads(response.read())["error"]
    connection.close()


def test_photos_beyond_the_limit(connection):
    from tests.unit.test_images import png

    check(connection, PREDICT, png(20_000, 20_000), JPEG, 413, "photo 0: the photo has")


def grpc_request(model="shelf-detector", raw=(b"\x07\0\0\0kumquat",), outputs=(), contents=(), **fields):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", **fields}
    if contents:
        tensor["contents"] = messages.InferTensorContents(bytes_contents=contents)
    return messages.ModelInferRequest(
        model_name=model,
        inputs=[messages.ModelInferRequest.InferInputTensor(**tensor)],
        raw_input_contents=raw,
        outputs=[messages.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
    )


GRPC = {
    "not a photo": (grpc_request(), "photo 0: 7 bytes that are not"),
    "not a photo, typed": (grpc_request(raw=(), contents=[b"kumquat"]), "photo 0: 7 bytes that are not"),
    "no input": (messages.ModelInferRequest(model_name="shelf-detector"), "found 0 inputs"),
    "another name": (grpc_request(name="picture"), "called 'image'"),
    "another datatype": (grpc_request(datatype="FP32"), "datatype must be BYTES"),
    "unknown datatype": (grpc_request(datatype="KUMQUAT"), "invalid content type"),
    "two dimensions": (grpc_request(shape=[1, 1]), "shape [N]"),
    "size and data differ": (grpc_request(shape=[2]), "does not fit its shape"),
    "negative size": (grpc_request(shape=[-1]), "shape [N]"),
    "size and data differ, typed": (grpc_request(raw=(), contents=[b"k"], shape=[2]), "does not fit"),
    "element is cut": (grpc_request(raw=(element(b"kumquat")[:-1],)), "does not fit its shape"),
    "length is cut": (grpc_request(raw=(b"\x07",)), "does not fit its shape"),
    "no photo": (grpc_request(raw=(b"",), shape=[0]), "found 0 photos"),
    "too many photos": (grpc_request(raw=(element(b"k") * 65,), shape=[65]), "found 65 photos"),
    "more contents than inputs": (grpc_request(raw=(b"k", b"k")), "does not match the expected number"),
    "unknown output": (grpc_request(outputs=["kumquat"]), "outputs: name some of boxes"),
}


@pytest.mark.parametrize("case", GRPC)
def test_grpc(server, case):
    request, message = GRPC[case]
    with grpc.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)

    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()
    assert MARK not in caught.value.details()


def test_grpc_unknown_model(server):
    with grpc.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(grpc_request("none"), timeout=60)

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_server_still_answers_after_all_that(server, photos):
    assert len(ask(server, [photos["shelf"]], "rest-binary")["scores"]) == 6
    assert MARK not in server.log.read_text().replace("/models/shelf-detector", "")

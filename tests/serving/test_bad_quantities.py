"""What a client may get wrong about recorded quantities: 400, {"error": …}, and an open connection."""

import base64
import json
import socket

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.serving.clients import ask
from tests.serving.conftest import BINS, NAME, encode
from tests.serving.wire import JPEG, JSON, MARK, check, element
from tests.tiny_counter import draw_bin

PHOTO = encode(draw_bin(2), "PNG")
IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(PHOTO).decode()]}
WHOLE = "is not a whole number of items from 0 to 2147483647"


def quantity(**fields):
    known = {"name": "expected_quantity", "shape": [1], "datatype": "INT32", "data": [2]}
    return {name: value for name, value in {**known, **fields}.items() if value is not None}


QUANTITIES = {
    "another datatype": (quantity(datatype="INT64"), "input 'expected_quantity': datatype must be INT32"),
    "a float datatype": (quantity(datatype="FP32"), "datatype must be INT32"),
    "text": (quantity(datatype="BYTES", data=["kumquat"]), "datatype must be INT32"),
    "text for a number": (quantity(data=["2"]), f"element 0: {WHOLE}"),
    "a fraction": (quantity(data=[2.5]), WHOLE),
    "a whole float": (quantity(data=[2.0]), WHOLE),
    "true": (quantity(data=[True]), WHOLE),
    "null": (quantity(data=[None]), WHOLE),
    "negative": (quantity(data=[-1]), WHOLE),
    "more than an INT32 holds": (quantity(data=[2**31]), WHOLE),
    "more than any machine holds": (quantity(data=[10**40]), WHOLE),
    "nested": (quantity(data=[[2]]), WHOLE),
    "two dimensions": (quantity(shape=[1, 1]), "shape [N]"),
    "too many": (quantity(shape=[2], data=[2, 2]), "has 2 elements for 1 photos; send one for each"),
    "none": (quantity(shape=[0], data=[]), "has 0 elements for 1 photos"),
    "size and data differ": (quantity(shape=[1], data=[2, 3]), "does not fit its shape"),
    "no data": (quantity(data=None), "inputs.1: give either 'data' or"),
    "another name": (quantity(name="quantity"), "called 'image', and if you like one called 'expected_qu"),
}


@pytest.mark.parametrize("case", QUANTITIES)
def test_v2_json(connection, case):
    tensor, message = QUANTITIES[case]
    body = json.dumps({"id": "a-bad-request", "inputs": [IMAGE, tensor]}).encode()
    check(connection, f"/v2/models/{BINS}/infer", body, JSON, 400, message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([quantity()], "found 1 inputs; send one, called 'image'"),
        ([IMAGE, quantity(), quantity()], "found 3 inputs"),
        ([IMAGE, IMAGE], "found 2 inputs"),
    ],
)
def test_v2_inputs_that_do_not_belong_together(connection, inputs, message):
    body = json.dumps({"inputs": inputs}).encode()
    check(connection, f"/v2/models/{BINS}/infer", body, JSON, 400, message)


def test_a_shelf_has_no_quantity(connection):
    body = json.dumps({"inputs": [IMAGE, quantity()]}).encode()
    check(connection, f"/v2/models/{NAME}/infer", body, JSON, 400, "found 2 inputs; send one, called 'image'")


@pytest.mark.parametrize("output", ["verdict", "match_probability", MARK])
def test_a_verdict_needs_a_quantity(connection, output):
    body = json.dumps({"inputs": [IMAGE], "outputs": [{"name": output}]}).encode()
    message = "outputs: name some of count, probabilities, each once"
    check(connection, f"/v2/models/{BINS}/infer", body, JSON, 400, message)


@pytest.mark.parametrize(
    ("raw", "shape", "message"),
    [
        (b"\2\0\0", [1], "does not fit its shape"),
        (b"\2\0\0\0\2\0\0\0", [1], "does not fit its shape"),
        (b"\xff\xff\xff\xff", [1], WHOLE),
    ],
)
def test_v2_binary(connection, raw, shape, message):
    photo = element(PHOTO)
    image = {**IMAGE, "parameters": {"binary_data_size": len(photo)}}
    del image["data"]
    record = quantity(data=None, shape=shape, parameters={"binary_data_size": len(raw)})
    head = json.dumps({"inputs": [image, record]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    check(connection, f"/v2/models/{BINS}/infer", head + photo + raw, headers, 400, message)


@pytest.mark.parametrize("value", [-1, True, None, 2.5, "2", [2], 2**31, {"kumquat": 1}])
def test_v1(connection, value):
    instance = {"image": {"b64": IMAGE["data"][0]}, "expected_quantity": value}
    body = json.dumps({"instances": [instance]}).encode()
    message = f"instances[0].expected_quantity: {WHOLE}"
    check(connection, f"/v1/models/{BINS}:predict", body, JSON, 400, message)


@pytest.mark.parametrize("value", ["two", "-1", "", "2.5", "true", "9" * 5000, "9999999999", "%D9%A3"])
def test_v1_query(connection, value):
    path = f"/v1/models/{BINS}:predict?expected_quantity={value}"
    check(connection, path, PHOTO, JPEG, 400, f"query parameter expected_quantity: {WHOLE}")


def test_v1_query_twice(connection):
    path = f"/v1/models/{BINS}:predict?expected_quantity=1&expected_quantity=2"
    check(connection, path, PHOTO, JPEG, 400, "query parameter expected_quantity: give it once")


@pytest.mark.parametrize("value", [2, "x"])
def test_v1_of_a_shelf_has_no_quantity(connection, value):
    instance = {"image": {"b64": IMAGE["data"][0]}, "expected_quantity": value}
    path, body = f"/v1/models/{NAME}:predict", json.dumps({"instances": [instance]}).encode()
    check(connection, path, body, JSON, 400, "instances[0]: has other names than image")
    query = f"{path}?expected_quantity={value}"
    check(
        connection, query, PHOTO, JPEG, 400, "query: has names that the model does not know; send nothing: "
    )


def test_v1_names_that_are_mistyped(connection):
    path = f"/v1/models/{BINS}:predict"
    instances = [{"image": {"b64": IMAGE["data"][0]}}] * 2
    instances[1] = {**instances[1], "expected_quantty": 3, MARK: 1}
    body = json.dumps({"instances": instances}).encode()
    message = "instances[1]: has other names than image and expected_quantity"
    check(connection, path, body, JSON, 400, message)
    query = "query: has names that the model does not know; send nothing but expected_quantity"
    check(connection, f"{path}?expected_quantty=3&{MARK}=1", PHOTO, JPEG, 400, query)


def grpc_request(raw=b"\2\0\0\0", numbers=None, **fields):
    tensors = [
        messages.ModelInferRequest.InferInputTensor(name="image", shape=[1], datatype="BYTES"),
        messages.ModelInferRequest.InferInputTensor(
            **{"name": "expected_quantity", "shape": [1], "datatype": "INT32", **fields}
        ),
    ]
    if numbers is not None:
        tensors[0].contents.bytes_contents.append(PHOTO)
        tensors[1].contents.int_contents.extend(numbers)
        return messages.ModelInferRequest(model_name=BINS, inputs=tensors)
    return messages.ModelInferRequest(
        model_name=BINS, inputs=tensors, raw_input_contents=[element(PHOTO), raw]
    )


GRPC = {
    "another datatype": (grpc_request(datatype="INT64"), "datatype must be INT32"),
    "negative": (grpc_request(b"\xff\xff\xff\xff"), WHOLE),
    "negative, typed": (grpc_request(numbers=[-1]), WHOLE),
    "too many": (grpc_request(b"\2\0\0\0" * 2, shape=[2]), "has 2 elements for 1 photos"),
    "too many, typed": (grpc_request(numbers=[2, 2], shape=[2]), "has 2 elements for 1 photos"),
    "none, typed": (grpc_request(numbers=[]), "does not fit its shape"),
    "cut off": (grpc_request(b"\2\0"), "does not fit its shape"),
}


@pytest.mark.parametrize("case", GRPC)
def test_grpc(server, case):
    request, message = GRPC[case]
    with grpc.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)

    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()


@pytest.mark.parametrize("length", ["kumquat", "-1", "9" * 40, "1, 2"])
def test_an_impossible_content_length_is_answered_like_all_errors(server, length):
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=60) as raw:
        raw.sendall(
            f"POST /v1/models/{BINS}:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: raw.recv(4096), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/json" in head
    assert list(json.loads(body)) == ["error"]
    assert MARK.encode() not in answer


def test_the_log_has_a_line_for_each_and_no_traceback(server, bins):
    assert len(ask(server, bins, "rest-binary", model=BINS)["count"]) == 4
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError):
        GRPCInferenceServiceStub(channel).ModelInfer(grpc_request(b"\xff\xff\xff\xff"), timeout=60)
    log = server.log.read_text()
    assert f"refused: input 'expected_quantity': element 0: {WHOLE}" in log
    assert "Traceback" not in log
    assert MARK not in log

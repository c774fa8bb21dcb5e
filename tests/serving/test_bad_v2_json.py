"""What a client may get wrong in a v2 request of JSON."""

import json

import pytest

from tests.serving.wire import INFER, JSON, LENGTH, MARK, RUBBISH, body, check, tensor, v2

SHAPE = "does not fit its shape"
CASES = {
    "no body": (b"", 400, "body: Invalid JSON"),
    "broken json": (b'{"inputs": [kumquat', 400, "body: Invalid JSON"),
    "not utf-8": (b'{"inputs": "\xff\xfekumquat"}', 400, "body: Invalid JSON"),
    "half a surrogate": (b'{"id": "\\ud800kumquat", "inputs": []}', 400, "body: Invalid JSON"),
    "two documents": (v2() + v2(), 400, "body: Invalid JSON"),
    "a list": (b'["kumquat"]', 400, "body: "),
    "a text": (b'"kumquat"', 400, "body: "),
    "null": (b"null", 400, "body: "),
    "deeply nested": (b'{"inputs":' + b"[" * 9_000, 400, "body: Invalid JSON"),
    "more values than a request has": (b"[" * 20_001, 400, "body: the JSON has more than 10,000 values"),
    "no inputs": (b'{"id": "kumquat"}', 400, "inputs: Field required"),
    "empty inputs": (body([]), 400, "inputs: "),
    "inputs of another type": (body(MARK), 400, "inputs: "),
    "an input of another type": (body([MARK]), 400, "inputs.0: "),
    "a number for the id": (json.dumps({"id": 7, "inputs": [tensor()]}).encode(), 400, "id: "),
    "no name": (v2(name=None), 400, "inputs.0.name: Field required"),
    "no shape": (v2(shape=None), 400, "inputs.0.shape: Field required"),
    "no datatype": (v2(datatype=None), 400, "inputs.0.datatype: Field required"),
    "no data": (v2(data=None), 400, "inputs.0: give either 'data' or"),
    "data and a size": (v2(parameters={"binary_data_size": 9}), 400, "inputs.0: give either 'data' or"),
    "shared memory": (v2(data=None, parameters={"shared_memory_region": MARK}), 400, "inputs.0: give either"),
    "a telling name": (v2(name=MARK, data=None), 400, "inputs.0: give either 'data' or"),
    "a telling parameter": (v2(parameters={MARK: []}), 400, "inputs.0.parameters.…"),
    "a parameter that is null": (v2(parameters={MARK: None}), 400, "inputs.0.parameters.…"),
    "another name": (v2(name="picture"), 400, "called 'image'"),
    "a number for a name": (v2(name=7), 400, "inputs.0.name: "),
    "another datatype": (v2(datatype="FP32"), 400, "datatype must be BYTES"),
    "a datatype that JSON has not": (v2(datatype="FP16", data=[1.5]), 400, "datatype must be BYTES"),
    "a datatype in small letters": (v2(datatype="bytes"), 400, "inputs.0.datatype: Input should be 'BOOL'"),
    "unknown datatype": (v2(datatype="KUMQUAT"), 400, "inputs.0.datatype: Input should be 'BOOL'"),
    "negative size": (v2(shape=[-1]), 400, "inputs.0.shape.0: "),
    "two sizes of -1": (v2(shape=[-1, -1]), 400, "inputs.0.shape.0: "),
    "fractional size": (v2(shape=[1.5]), 400, "inputs.0.shape.0: "),
    "true for a size": (v2(shape=[True]), 400, "inputs.0.shape.0: "),
    "text for a size": (v2(shape=["kumquat"]), 400, "inputs.0.shape.0: "),
    "text for a shape": (v2(shape="1"), 400, "inputs.0.shape: "),
    "more data than the shape": (v2(data=[RUBBISH] * 2), 400, SHAPE),
    "less data than the shape": (v2(shape=[2]), 400, SHAPE),
    "absurd size": (v2(shape=[2**62]), 400, "found 4611686018427387904 photos"),
    "a size that no machine holds": (
        v2(shape=[10**40]),
        400,
        "inputs.0.shape.0: Input should be less than 9223",
    ),
    "a size of many digits": (v2(shape=[10**4299]), 400, "inputs.0.shape.0: Input should be less than 9223"),
    "a large photo": (
        b"\xff\xd8kumquat" + b"," * 10_001,
        400,
        "the body is not JSON; send JSON, or to NAME:pre",
    ),
    "no dimension": (v2(shape=[]), 400, "shape [N]"),
    "two dimensions": (v2(shape=[1, 1]), 400, "shape [N]"),
    "numbers for photos": (v2(data=[7]), 400, "element 0: is not text"),
    "null for a photo": (v2(data=[None]), 400, "element 0: is not text"),
    "a list for a photo": (v2(data=[[RUBBISH]]), 400, "element 0: is not text"),
    "data of another type": (v2(data=RUBBISH), 400, "inputs.0.data: "),
    "ragged data": (v2(shape=[2], data=[[RUBBISH], RUBBISH]), 400, "element 0: is not text"),
    "not base64": (v2(data=["kumquat!"]), 400, "element 0: is not base64"),
    "base64 without its end": (v2(data=["a3Vtcx"[:5]]), 400, "element 0: is not base64"),
    "beyond ascii": (v2(data=["kümquat"]), 400, "element 0: is not base64"),
    "not a photo": (v2(), 415, "photo 0: 63 bytes that are not a JPEG, PNG or WebP"),
    "an empty photo": (v2(data=[""]), 415, "photo 0: 0 bytes that are not"),
    "no photo": (v2(shape=[0], data=[]), 400, "found 0 photos"),
    "too many photos": (v2(shape=[65], data=[RUBBISH] * 65), 400, "found 65 photos"),
    "two inputs": (body([tensor(), tensor()]), 400, "found 2 inputs"),
    "an input that there is not": (body([tensor(), tensor(name="mask")]), 400, "found 2 inputs"),
    "unknown output": (
        body([tensor()], outputs=[{"name": MARK}]),
        400,
        "outputs: name some of boxes, scores",
    ),
    "an output twice": (body([tensor()], outputs=[{"name": "boxes"}] * 2), 400, "each once"),
    "an output without a name": (body([tensor()], outputs=[{}]), 400, "outputs.0.name: Field required"),
    "outputs of another type": (body([tensor()], outputs=MARK), 400, "outputs: "),
    "classes of an output": (
        body([tensor()], outputs=[{"name": "scores", "parameters": {"classification": 3}}]),
        400,
        "outputs.0.parameters.classification: is not offered",
    ),
    "an output in shared memory": (
        body([tensor()], outputs=[{"name": "scores", "parameters": {"shared_memory_region": MARK}}]),
        400,
        "outputs.0.parameters.shared_memory_region: is not offered",
    ),
    "a text for binary_data": (
        body(
            [tensor()], outputs=[{"name": "boxes"}, {"name": "scores", "parameters": {"binary_data": MARK}}]
        ),
        400,
        "outputs.1.parameters.binary_data: give true or false",
    ),
    "a number for binary_data_output": (
        body([tensor()], parameters={"binary_data_output": 1}),
        400,
        "parameters.binary_data_output: give true or false",
    ),
    "a text for the timeout": (
        body([tensor()], parameters={"timeout": MARK}),
        400,
        "parameters.timeout: give a number of microseconds",
    ),
    "a negative timeout": (body([tensor()], parameters={"timeout": -1}), 400, "parameters.timeout: give"),
    "true for the timeout": (body([tensor()], parameters={"timeout": True}), 400, "parameters.timeout: give"),
    "parameters of another type": (body([tensor()], parameters=[]), 400, "parameters: "),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal(connection, case):
    content, status, message = CASES[case]
    check(connection, INFER, content, JSON, status, message)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {LENGTH: str(len(v2()))}])
def test_the_content_type_does_not_matter(connection, headers):
    check(connection, INFER, v2(), headers, 415, "photo 0: 63 bytes")


def test_but_a_photo_is_no_tensor(connection):
    message = "v2 takes tensors; send a photo to /v1/models/shelf-detector:predict"
    check(connection, INFER, b"kumquat", {"Content-Type": "Image/JPEG; q=1"}, 415, message)


@pytest.mark.parametrize("value", ["kumquat", "-1", "1.5", "9" * 13, "٣"])
def test_impossible_times_to_answer_in(connection, value):
    message = "header x-envoy-expected-rq-timeout-ms: give a number of milliseconds"
    headers = {"X-Envoy-Expected-Rq-Timeout-Ms": value.encode()}
    check(connection, INFER, v2(), headers, 400, message)

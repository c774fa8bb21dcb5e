"""What a client may get wrong in a v2 request with binary tensors."""

import pytest

from tests.serving.wire import INFER, LENGTH, MARK, binary, body, check, element, tensor, v2

ONE = element(b"kumquat")
SHAPE = "input 'image': its data does not fit its shape"
SIZE = "inputs.0: binary_data_size does not fit the 11 bytes left"
HEADER = "header Inference-Header-Content-Length: give the JSON's length"


def two_inputs(*sizes):
    inputs = [tensor(data=None, parameters={"binary_data_size": size}) for size in sizes]
    head = body(inputs)
    return head + ONE, {LENGTH: str(len(head))}


CASES = {
    "size is short": (*binary(ONE, size=5), 400, "6 bytes follow the last input"),
    "size is long": (*binary(ONE, size=5000), 400, SIZE),
    "size is one too long": (*binary(ONE, size=12), 400, SIZE),
    "size is negative": (*binary(ONE, size=-1), 400, SIZE),
    "size is text": (*binary(ONE, size=MARK), 400, SIZE),
    "size is a number in a text": (*binary(ONE, size="11"), 400, SIZE),
    "size is a fraction": (*binary(ONE, size=11.0), 400, SIZE),
    "size is true": (*binary(ONE, size=True), 400, SIZE),
    "size is absurd": (*binary(ONE, size=10**40), 400, SIZE),
    "sizes overlap": (*two_inputs(11, 11), 400, "inputs.1: binary_data_size does not fit the 0 bytes left"),
    "data as well": (*binary(ONE, data=[]), 400, "inputs.0: give either 'data' or"),
    "no size": (*binary(ONE, parameters={}), 400, "inputs.0: give either 'data' or"),
    "bytes follow": (*binary(ONE, tail=b"kumquat"), 400, "7 bytes follow the last input"),
    "no bytes": (*binary(b""), 400, SHAPE),
    "length is cut": (*binary(b"\x07\0"), 400, SHAPE),
    "element is cut": (*binary(ONE[:-1]), 400, SHAPE),
    "element is long": (*binary(ONE + b"k"), 400, SHAPE),
    "length is huge": (*binary(b"\xff\xff\xff\xffkumquat"), 400, SHAPE),
    "one element for two": (*binary(ONE, shape=[2]), 400, SHAPE),
    "two elements for one": (*binary(ONE * 2), 400, SHAPE),
    "no photo": (*binary(b"", shape=[0]), 400, "found 0 photos"),
    "too many photos": (*binary(ONE * 65, shape=[65]), 400, "found 65 photos"),
    "absurd size": (*binary(ONE, shape=[2**62]), 400, "found 4611686018427387904 photos"),
    "two dimensions": (*binary(ONE, shape=[1, 1]), 400, "shape [N]"),
    "another datatype": (*binary(b"kumq", datatype="FP32"), 400, "datatype must be BYTES"),
    "pixels": (*binary(b"kumquat", datatype="UINT8", shape=[7]), 400, "datatype must be BYTES"),
    "another name": (*binary(ONE, name="picture"), 400, "called 'image'"),
    "not a photo": (*binary(ONE), 415, "photo 0: 7 bytes that are not"),
    "an empty photo": (*binary(element(b"")), 415, "photo 0: 0 bytes that are not"),
    "no inputs": (b"{}kumquat", {LENGTH: "2"}, 400, "inputs: Field required"),
    "header length is text": (v2(), {LENGTH: MARK}, 400, HEADER),
    "header length is negative": (v2(), {LENGTH: "-1"}, 400, HEADER),
    "header length is signed": (v2(), {LENGTH: "+9"}, 400, HEADER),
    "header length is a fraction": (v2(), {LENGTH: "9.0"}, 400, HEADER),
    "header length is in other digits": (v2(), {LENGTH: "\xb2"}, 400, HEADER),
    "header length is empty": (v2(), {LENGTH: ""}, 400, HEADER),
    "header length is absurd": (v2(), {LENGTH: "9" * 5000}, 400, HEADER),
    "header length is too long": (v2(), {LENGTH: "99999"}, 400, HEADER),
    "header length is one too long": (v2(), {LENGTH: str(len(v2()) + 1)}, 400, HEADER),
    "header length is short": (v2(), {LENGTH: "9"}, 400, "body: Invalid JSON"),
    "header length is nothing": (v2(), {LENGTH: "0"}, 400, "body: Invalid JSON"),
    "header length is one short": (*binary(ONE, length=str(len(binary(ONE)[0]) - 12)), 400, "Invalid JSON"),
    "no header length": (binary(ONE)[0], {}, 400, "body: Invalid JSON"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal(connection, case):
    content, headers, status, message = CASES[case]
    check(connection, INFER, content, headers, status, message)

"""Messages of v2 requests and answers over gRPC."""

import numpy as np
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from serving.predictors.grpc_v2 import message_of_response, request_of_message
from serving.predictors.protocol import answer, sent_of
from stocktake.errors import BadRequest
from tests.serving.wire import element, grpc_request

BOTH = ["image", "expected_quantity"]
TENSORS = {
    "boxes": np.array([[0.5, 2, 3, 4]], np.float32),
    "counts": np.array([5, 6], np.int32),
    "names": np.array([b"one", b"\xff"], np.object_),
}
ONE = element(b"one")


def with_record(raw=(), contents=None, **fields):
    message = grpc_request(raw=raw, contents=None if raw else {"bytes_contents": [b"one"]})
    message.inputs.add(**{"name": "expected_quantity", "datatype": "INT32", "shape": [1], **fields})
    if contents is not None:
        message.inputs[1].contents.int_contents.extend(contents)
    return message


@pytest.mark.parametrize("message", [with_record([ONE, b"\4\0\0\0"]), with_record(contents=[4])])
def test_raw_and_typed_contents_say_the_same(message):
    sent = sent_of(request_of_message(message), BOTH)

    assert (sent.photos, sent.quantities) == ([b"one"], [4])


def test_what_a_request_says_beside_its_tensors():
    message = grpc_request(raw=[ONE], outputs=["names"])
    message.id, message.model_version = "42", "latest"
    message.parameters["binary_data_output"].bool_param = False
    message.parameters["timeout"].int64_param = 7

    request = request_of_message(message, "7")

    assert (request.id, request.model_name, request.model_version) == ("42", "shelf-detector", "7")
    assert request.parameters == {"binary_data_output": False, "timeout": 7}
    assert [output.name for output in request.request_outputs] == ["names"]
    assert request_of_message(grpc_request(raw=[ONE])).request_outputs is None


@pytest.mark.parametrize("form", ["raw", "typed"])
def test_answers_come_in_the_form_of_the_request(form):
    typed = {"raw": (), "contents": {"bytes_contents": [b"one"]}}
    request = request_of_message(grpc_request(**({"raw": [ONE]} if form == "raw" else typed)), "7")
    request.id = "42"

    message = message_of_response(request, answer(request, TENSORS))

    assert (message.id, message.model_name, message.model_version) == ("42", "shelf-detector", "7")
    assert [(each.name, each.datatype, list(each.shape)) for each in message.outputs] == [
        ("boxes", "FP32", [1, 4]),
        ("counts", "INT32", [2]),
        ("names", "BYTES", [2]),
    ]
    boxes, counts, names = (each.contents for each in message.outputs)
    if form == "raw":
        assert list(message.raw_output_contents) == [
            TENSORS["boxes"].tobytes(),
            b"\5\0\0\0\6\0\0\0",
            element(b"one") + element(b"\xff"),
        ]
        assert not any(each.HasField("contents") for each in message.outputs)
    else:
        assert not message.raw_output_contents
        assert list(boxes.fp32_contents) == [0.5, 2, 3, 4]
        assert list(counts.int_contents) == [5, 6]
        assert list(names.bytes_contents) == [b"one", b"\xff"]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (with_record([ONE]), "raw_input_contents: found 1 for 2 inputs"),
        (with_record([ONE, b"", b""]), "raw_input_contents: found 3 for 2 inputs"),
        (with_record([ONE, b""], [4]), "inputs.1.contents: there are raw_input_contents, too"),
        (
            with_record(contents=[4], datatype="INT64"),
            "inputs.1.contents: are not those of the datatype INT64",
        ),
        (with_record(contents=[4], datatype="FP16"), "inputs.1.contents: are not those of the datatype FP16"),
        (with_record(datatype="int32"), "inputs.1.datatype: is none of BOOL, UINT8"),
        (with_record(contents=[]), "input 'expected_quantity': its data does not fit its shape"),
        (with_record(contents=[-1]), "input 'expected_quantity': element 0: is not a whole number"),
        (
            with_record([ONE, b"\4\0\0\0\4\0\0\0"], shape=[2]),
            "has 2 elements for 1 photos; send one for each",
        ),
        (with_record([ONE, b"\4\0\0\0"], name="image"), "found 2 inputs; send one, called 'image', and if"),
        (with_record([ONE, b"\4\0\0\0"], name="mask"), "found 2 inputs"),
        (ModelInferRequest(), "found 0 inputs"),
    ],
)
def test_messages_whose_parts_do_not_fit(message, error):
    with pytest.raises(BadRequest) as caught:
        sent_of(request_of_message(message), BOTH)

    assert str(caught.value).startswith(error) or error in str(caught.value)


def test_an_empty_tensor_needs_no_contents():
    message = grpc_request(raw=(), datatype="FP16", shape=[0])

    assert request_of_message(message).inputs[0].data == []


def test_parameters_of_outputs_are_looked_at():
    message = grpc_request(raw=[ONE], outputs=["a", "b"])
    message.outputs[1].parameters["classification"].int64_param = 2

    with pytest.raises(BadRequest, match=r"outputs\.1\.parameters\.classification: is not offered"):
        request_of_message(message)

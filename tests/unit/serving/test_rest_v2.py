"""Bodies of v2 REST requests and answers."""

import json

import numpy as np
import pytest

from serving.predictors.json_body import MAX_VALUES
from serving.predictors.protocol import answer, requested_outputs, sent_of
from serving.predictors.rest_v2 import encode_infer_response, parse_infer_request
from stocktake.errors import BadRequest

TENSORS = {
    "boxes": np.array([[0.1, 2, 3, 4]], np.float32),
    "counts": np.array([5, 6], np.int32),
    "names": np.array([b"one", b"\xc3\xb6"], np.object_),
    "none": np.zeros((0, 4), np.float32),
}


def tensor(name="image", shape=(1,), **fields):
    return {"name": name, "shape": list(shape), "datatype": "BYTES", **fields}


def sized(size, **fields):
    return tensor(parameters={"binary_data_size": size}, **fields)


def parse(inputs, raw=b"", length=None, **fields):
    head = json.dumps({"inputs": inputs, **fields}).encode()
    length = (str(len(head)) if raw else None) if length is None else length
    return parse_infer_request(head + raw, length, "model", "7")


def encode(**fields):
    request = parse([tensor(data=[""])], **fields)
    body, length = encode_infer_response(request, answer(request, TENSORS))
    head = json.loads(body[: len(body) if length is None else length])
    outputs = {output["name"]: output for output in head["outputs"]}
    return head, outputs, b"" if length is None else body[length:]


def test_a_request_of_json():
    request = parse([tensor(data=["b25l"])], id="42", parameters={"priority": 1})

    assert (request.id, request.model_name, request.model_version) == ("42", "model", "7")
    assert request.parameters == {"priority": 1}
    assert request.request_outputs is None
    assert not request.use_binary_outputs
    assert sent_of(request).photos == [b"one"]
    assert sent_of(request).quantities == [None]


def test_binary_inputs_come_in_the_order_of_the_inputs():
    record = {"name": "expected_quantity", "shape": [2], "datatype": "INT32"}
    first, second = sized(14, shape=[2]), {**record, "parameters": {"binary_data_size": 8}}
    photos, records = b"\3\0\0\0one\3\0\0\0two", b"\1\0\0\0\2\0\0\0"
    known = ["image", "expected_quantity"]

    for inputs, raw in (([first, second], photos + records), ([second, first], records + photos)):
        sent = sent_of(parse(inputs, raw), known)
        assert (sent.photos, sent.quantities, sent.has_quantities) == ([b"one", b"two"], [1, 2], True)
    mixed = sent_of(parse([first, {**record, "data": [1, 2]}], photos), known)
    assert mixed == sent


def test_binary_inputs_are_views_that_nobody_can_write():
    raw = parse([sized(7)], b"\3\0\0\0one").inputs[0]._raw_data

    assert isinstance(raw, memoryview)
    assert raw.readonly
    assert len(raw.obj) > 7  # the whole body, of which there is no second copy


def test_a_header_length_without_binary_inputs():
    head = json.dumps({"inputs": [tensor(data=["b25l"])]}).encode()

    assert sent_of(parse_infer_request(head, str(len(head)), "model")).photos == [b"one"]
    with pytest.raises(BadRequest, match="1 bytes follow the last input"):
        parse_infer_request(head + b" ", str(len(head)), "model")


def test_no_bytes_at_all_are_a_size_too():
    request = parse([sized(0, shape=[0]), tensor("other", data=[])])

    assert request.inputs[0]._raw_data == b""
    assert request.inputs[1]._raw_data is None


@pytest.mark.parametrize("size", [-1, 8, True, "7", 7.0, 10**40])
def test_sizes_that_do_not_fit(size):
    with pytest.raises(BadRequest, match=r"inputs\.1: binary_data_size does not fit the 7 bytes left"):
        parse([tensor(data=[]), sized(size)], b"\3\0\0\0one")


@pytest.mark.parametrize("fields", [{}, {"data": None}, {"data": [], "parameters": {"binary_data_size": 0}}])
def test_data_comes_one_way(fields):
    with pytest.raises(BadRequest, match=r"inputs\.0: give either 'data' or the parameter"):
        parse([tensor(**fields)])


@pytest.mark.parametrize("length", ["", "x", "-1", "+1", "1.0", " 1", "²", "9" * 13, "9" * 5000, "85"])
def test_impossible_header_lengths(length):
    message = "header Inference-Header-Content-Length: give the JSON's length, up to 84 bytes"
    with pytest.raises(BadRequest, match=message):
        parse([tensor(data=["b25l"])], length=length)


def test_a_header_length_of_many_digits():
    head = json.dumps({"inputs": [tensor(data=["b25l"])]}).encode()

    assert parse_infer_request(head, str(len(head)).zfill(12), "model")
    with pytest.raises(BadRequest, match="header"):
        parse_infer_request(head, str(len(head)).zfill(13), "model")


@pytest.mark.parametrize("values", [MAX_VALUES, MAX_VALUES + 1])
@pytest.mark.parametrize(("opening", "part"), [("", "["), ("", "{"), ("[", "1,")])
def test_json_of_many_values(opening, part, values):
    with pytest.raises(BadRequest) as caught:
        parse_infer_request((opening + part * (values - len(opening))).encode(), None, "model")

    assert ("more than 10,000 values" in str(caught.value)) == (values > MAX_VALUES)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body: Invalid JSON"),
        (b"{}", "inputs: Field required"),
        (b'{"inputs": []}', "inputs: List should have at least 1 item"),
        (b'{"inputs": [{}]}', "inputs.0.name: Field required"),
        (b'{"inputs": [{"name": "a", "shape": [0, -1]}]}', "inputs.0.shape.1: Input should be greater"),
        (b'{"kumquat": 1, "inputs": [1], "id": 7}', "id: Input should be a valid string"),
    ],
)
def test_errors_name_the_field(body, message):
    with pytest.raises(BadRequest) as caught:
        parse_infer_request(body, None, "model")

    assert str(caught.value).startswith(message)


def test_errors_name_no_field_of_the_client():
    with pytest.raises(BadRequest, match=r"^inputs\.0\.parameters\.…\.…: "):
        parse([tensor(parameters={"kumquat": []})])


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, ["boxes", "counts", "names", "none"]),
        ([], ["boxes", "counts", "names", "none"]),
        (["names"], ["names"]),
        (["none", "boxes"], ["none", "boxes"]),
    ],
)
def test_exactly_the_outputs_that_are_asked_for(asked, given):
    outputs = None if asked is None else [{"name": name} for name in asked]

    assert list(encode(outputs=outputs)[1]) == given


@pytest.mark.parametrize("asked", [["boxes", "boxes"], ["boxes", "kumquat"], [""]])
def test_outputs_that_there_are_not(asked):
    request = parse([tensor(data=[""])], outputs=[{"name": name} for name in asked])

    with pytest.raises(BadRequest, match="outputs: name some of boxes, counts, each once"):
        requested_outputs(request, ["boxes", "counts"])


def test_an_answer_of_json():
    head, outputs, raw = encode(id="42")

    assert (head["model_name"], head["model_version"], head["id"], raw) == ("model", "7", "42", b"")
    assert outputs["boxes"] == {"name": "boxes", "shape": [1, 4], "datatype": "FP32", "data": [0.1, 2, 3, 4]}
    assert outputs["counts"] == {"name": "counts", "shape": [2], "datatype": "INT32", "data": [5, 6]}
    assert outputs["names"] == {"name": "names", "shape": [2], "datatype": "BYTES", "data": ["one", "ö"]}
    assert outputs["none"] == {"name": "none", "shape": [0, 4], "datatype": "FP32", "data": []}
    assert "id" not in encode()[0]


def test_a_version_that_nobody_knows_is_not_told():
    request = parse_infer_request(json.dumps({"inputs": [tensor(data=[])]}).encode(), None, "model")

    body, _ = encode_infer_response(request, answer(request, TENSORS))
    assert "model_version" not in json.loads(body)


@pytest.mark.parametrize(
    ("all_binary", "wishes", "binary"),
    [
        (True, {}, ["boxes", "counts", "names", "none"]),
        (True, {"names": False, "counts": True, "boxes": None}, ["counts", "boxes"]),
        (False, {"names": True, "counts": None, "boxes": False}, ["names"]),
        (None, {"none": True, "boxes": None}, ["none"]),
        (None, {}, []),
    ],
)
def test_an_output_is_binary_if_it_or_all_are_to_be(all_binary, wishes, binary):
    parameters = {} if all_binary is None else {"binary_data_output": all_binary}
    outputs = [
        {"name": name} if wish is None else {"name": name, "parameters": {"binary_data": wish}}
        for name, wish in wishes.items()
    ]
    _, answered, raw = encode(parameters=parameters, outputs=outputs)

    assert [name for name in answered if "data" not in answered[name]] == binary
    sizes = [answered[name]["parameters"] for name in binary]
    expected = {
        "boxes": TENSORS["boxes"].tobytes(),
        "counts": b"\5\0\0\0\6\0\0\0",
        "names": b"\3\0\0\0one\2\0\0\0\xc3\xb6",
        "none": b"",
    }
    assert sizes == [{"binary_data_size": len(expected[name])} for name in binary]
    assert raw == b"".join(expected[name] for name in binary)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: give true or false"),
        ({"parameters": {"timeout": 1.5}}, "parameters.timeout: give a number of microseconds"),
        ({"parameters": {"timeout": -1}}, "parameters.timeout: give a number of microseconds"),
        (
            {"outputs": [{"name": "a", "parameters": {"binary_data": "no"}}]},
            "outputs.0.parameters.binary_data: ",
        ),
        (
            {"outputs": [{"name": "a"}, {"name": "b", "parameters": {"classification": 1}}]},
            "outputs.1.parameters.classification: is not offered; ask for the output as it is",
        ),
    ],
)
def test_parameters_that_can_not_be_followed(fields, message):
    with pytest.raises(BadRequest) as caught:
        parse([tensor(data=[""])], **fields)

    assert str(caught.value).startswith(message)

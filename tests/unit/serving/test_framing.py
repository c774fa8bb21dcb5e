"""Whatever bytes come, a request is taken apart as it was meant, or refused as the client's mistake."""

import json
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from serving.predictors.bodies import unpack
from serving.predictors.grpc_v2 import message_of_response, request_of_message
from serving.predictors.protocol import answer, sent_of
from serving.predictors.rest_v1 import parse_v1, request_of_photo
from serving.predictors.rest_v2 import encode_infer_response, parse_infer_request
from stocktake.errors import BadRequest

KNOWN = ["image", "expected_quantity"]
TENSORS = {
    "a": np.zeros((0, 4), np.float32),
    "b": np.arange(2, dtype=np.int32),
    "c": np.array([b"x"], np.object_),
}
MANY = settings(max_examples=200, deadline=None, derandomize=True)
FEWER = settings(max_examples=60, deadline=None, derandomize=True)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*KNOWN, "a", "b"])
parameters = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "timeout", "classification"]),
    st.integers(-3, 30) | st.booleans() | json_values,
    max_size=3,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": names | json_values,
        "shape": st.lists(st.integers(-2, 3), max_size=2) | json_values,
        "datatype": st.sampled_from(["BYTES", "INT32", "FP32", "bytes"]) | json_values,
        "data": st.lists(st.sampled_from(["aGVsbG8=", "x", 7]), max_size=3) | json_values,
        "parameters": parameters | json_values,
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "inputs": st.lists(tensors, max_size=3) | json_values,
        "outputs": st.lists(st.fixed_dictionaries({"name": names, "parameters": parameters})) | json_values,
        "parameters": parameters | json_values,
    },
)
photo_lists = st.lists(st.binary(max_size=40), min_size=1, max_size=64)
quantities = st.integers(0, 2**31 - 1)


def element(data):
    return len(data).to_bytes(4, "little") + data


def framed(photos, records=None, swapped=False):
    """A valid binary request: its JSON, and what follows it."""
    parts = [("image", "BYTES", b"".join(map(element, photos)))]
    if records is not None:
        parts.append(("expected_quantity", "INT32", np.array(records, "<i4").tobytes()))
    inputs = [
        {
            "name": name,
            "shape": [len(photos)],
            "datatype": datatype,
            "parameters": {"binary_data_size": len(raw)},
        }
        for name, datatype, raw in (reversed(parts) if swapped else parts)
    ]
    raw = b"".join(raw for *_, raw in (reversed(parts) if swapped else parts))
    return json.dumps({"inputs": inputs}).encode(), raw


def sent_in(body, length):
    """What a body sends, None where it is refused; any other error than that fails the test."""
    try:
        return sent_of(parse_infer_request(body, length, "model"), KNOWN)
    except BadRequest:
        return None


def as_bytes(sent):
    return sent and ([bytes(photo) for photo in sent.photos], sent.quantities)


@MANY
@given(
    bodies, st.binary(max_size=30), st.none() | st.integers(-5, 400) | st.text(max_size=4) | st.just("fit")
)
def test_no_request_breaks_the_parser(body, tail, length):
    head = json.dumps(body).encode()
    header = str(len(head)) if length == "fit" else None if length is None else str(length)
    try:
        request = parse_infer_request(head + tail, header, "model")
        sent = sent_of(request, KNOWN)
        body, json_length = encode_infer_response(request, answer(request, TENSORS))
    except BadRequest:
        return
    assert 1 <= len(sent.photos) == len(sent.quantities) <= 64
    assert json.loads(body[:json_length])["outputs"]


@MANY
@given(st.binary(max_size=200), st.none() | st.integers(0, 220).map(str))
def test_no_bytes_break_the_parser(body, length):
    sent_in(body, length)


@MANY
@given(photo_lists, st.data(), st.booleans())
def test_valid_requests_arrive_as_they_were_sent(photos, data, swapped):
    size = st.lists(quantities, min_size=len(photos), max_size=len(photos))
    records = data.draw(st.none() | size)
    head, raw = framed(photos, records, swapped)

    sent = sent_in(head + raw, str(len(head)))

    assert as_bytes(sent) == (photos, records or [None] * len(photos))


@FEWER
@given(photo_lists, st.integers(-12, 12), st.integers(0, 2**32))
def test_bytes_that_are_missing_or_too_many_are_noticed(photos, change, seed):
    """Wherever a byte is lost or comes twice: the request is refused, or it was no part of what is sent."""
    head, raw = framed(photos)
    body = bytearray(head + raw)
    place = random.Random(seed).randrange(len(body))
    if change < 0:
        del body[place : place - change]
    else:
        body[place:place] = bytes(body[place : place + change])
    whole = as_bytes(sent_in(head + raw, str(len(head))))

    assert as_bytes(sent_in(body, str(len(head)))) in ((None, whole) if change else (whole,))


@FEWER
@given(photo_lists, st.integers(-300, 300).filter(bool))
def test_a_header_length_that_is_wrong_is_noticed(photos, change):
    head, raw = framed(photos)

    assert sent_in(head + raw, str(max(len(head) + change, 0))) is None


@FEWER
@given(photo_lists, st.integers(-300, 300).filter(bool))
def test_a_size_that_is_wrong_is_noticed(photos, change):
    head, raw = framed(photos)
    tensor = json.loads(head)
    tensor["inputs"][0]["parameters"]["binary_data_size"] += change
    head = json.dumps(tensor).encode()

    assert sent_in(head + raw, str(len(head))) is None


@MANY
@given(json_values | st.fixed_dictionaries({"instances": st.lists(json_values, max_size=3)}))
def test_no_object_breaks_v1(value):
    try:
        sent = sent_of(parse_v1(json.dumps(value).encode()), KNOWN)
    except BadRequest:
        return
    assert sent.photos


@FEWER
@given(st.binary(max_size=100), st.lists(st.text(max_size=14), max_size=2))
def test_no_query_breaks_v1(photo, recorded):
    try:
        sent = sent_of(request_of_photo(photo, recorded), KNOWN)
    except BadRequest:
        return
    assert (sent.photos, sent.quantities) == ([photo], [int(text) for text in recorded] or [None])


@MANY
@given(st.binary(max_size=200) | photo_lists.map(lambda photos: b"".join(map(element, photos))))
def test_no_message_breaks_grpc(raw):
    message = ModelInferRequest(raw_input_contents=[raw])
    message.inputs.add(name="image", datatype="BYTES", shape=[raw.count(b"\0\0")])
    for candidate in (message, _parsed(raw)):
        if candidate is None:
            continue
        try:
            request = request_of_message(candidate)
            assert sent_of(request, KNOWN).photos
            message_of_response(request, answer(request, TENSORS))
        except BadRequest:
            continue


def _parsed(raw):
    try:
        return ModelInferRequest.FromString(raw)
    except Exception:
        return None


@FEWER
@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_no_bytes_break_unpacking(body, encoding):
    try:
        assert len(unpack(body, encoding, 1000)) <= 1000
    except BadRequest:
        return

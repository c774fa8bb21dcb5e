"""Counting what a gRPC message unpacks to agrees with protobuf's own encoding of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from serving.predictors.grpc_fields import is_small

REQUEST = ModelInferRequest.DESCRIPTOR


def fits(data, most):
    return is_small(data, REQUEST, most)


def counted(message):
    """The lowest limit that a message fits."""
    data = message.SerializeToString()
    return next(most for most in range(100_000) if fits(data, most))


def request(inputs=0, shape=(), raw=(), **fields):
    message = ModelInferRequest(raw_input_contents=raw, **fields)
    for _ in range(inputs):
        message.inputs.add(shape=shape)
    return message


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (request(), 0),
        (request(model_name="a", id="b"), 2),
        (request(raw=[b"photo" * 1000] * 64), 64),
        (request(inputs=3), 3),
        (request(inputs=2, shape=[1, 300]), 2 * (1 + 1 + 3)),  # packed numbers count by their bytes
    ],
)
def test_fields_and_packed_numbers(message, fields):
    assert counted(message) == fields


def test_typed_contents_and_parameters():
    message = request(inputs=1)
    message.inputs[0].contents.bytes_contents.extend([b"photo" * 1000] * 5)
    assert counted(message) == 1 + 1 + 5
    message.parameters["timeout"].int64_param = 10**12
    assert counted(message) == 7 + 1 + 2 + 1  # the entry, its name and value, and the value's field


@pytest.mark.parametrize("ending", [b"", b"\x32", b"\xff" * 11, b"\x32\xff\xff\xff\xff\x0f"])
def test_a_flood_is_seen_whatever_comes_after_it(ending):
    assert not fits(b"\x32\x00" * 101 + ending, most=100)


def test_what_is_unknown_counts_once():
    fixed32, fixed64, varint = b"\xa5\x06" + b"1234", b"\xa1\x06" + b"12345678", b"\xa0\x06\xff\x01"
    text = b"\xa2\x06\x03abc"
    assert fits(fixed32 + fixed64 + varint + text, most=4)
    assert not fits(fixed32 + fixed64 + varint + text, most=3)


def test_groups_are_not_looked_into():
    assert not fits(b"\xa3\x06\xa4\x06", most=10_000)


@given(st.binary(max_size=200))
def test_nothing_breaks_it(data):
    fits(data, most=50)

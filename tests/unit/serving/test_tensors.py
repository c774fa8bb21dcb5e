"""Tensors taken apart and put together, with no server around them."""

import base64

import numpy as np
import pytest
from kserve import InferInput

from serving.predictors.tensors import (
    from_base64,
    photos_in,
    quantities_in,
    quantity,
    raw_data,
    to_binary,
)
from stocktake.errors import BadRequest

MISFIT = "its data does not fit its shape"


def element(data):
    return len(data).to_bytes(4, "little") + data


def tensor(name="image", datatype="BYTES", shape=(1,), data=None, raw=None):
    made = InferInput(name, list(shape), datatype, data)
    made._raw_data = raw
    return made


def record(data=None, raw=None, count=1):
    return tensor("expected_quantity", "INT32", (count,), data, raw)


@pytest.mark.parametrize("photos", [[b"one"], [b"", b"two", b""], [b"\0\xff" * 300], [b"x"] * 64])
def test_binary_elements(photos):
    raw = b"".join(element(photo) for photo in photos)

    assert photos_in(tensor(shape=[len(photos)], raw=raw)) == photos


def test_binary_elements_are_views_on_the_body():
    body = bytearray(element(b"one") + element(b"two"))
    first, second = photos_in(tensor(shape=[2], raw=memoryview(body)))

    assert isinstance(first, memoryview)
    body[4:7] = b"ONE"
    assert (first, second) == (b"ONE", b"two")
    assert np.frombuffer(second, np.uint8).tolist() == [*b"two"]


@pytest.mark.parametrize("size", range(2 * 7))
def test_every_prefix_of_two_elements_is_too_short(size):
    raw = (element(b"one") + element(b"two"))[:size]

    with pytest.raises(BadRequest, match=f"input 'image': {MISFIT}"):
        photos_in(tensor(shape=[2], raw=raw))


@pytest.mark.parametrize("tail", [b"\0", b"\0\0\0\0", element(b"two")])
def test_nothing_may_follow_the_elements(tail):
    with pytest.raises(BadRequest, match=MISFIT):
        photos_in(tensor(raw=element(b"one") + tail))


@pytest.mark.parametrize("length", [4, 2**31, 2**32 - 1])
def test_lengths_beyond_the_end(length):
    with pytest.raises(BadRequest, match=MISFIT):
        photos_in(tensor(raw=length.to_bytes(4, "little") + b"one"))


def test_lengths_are_little_endian():
    assert photos_in(tensor(raw=b"\1\1\0\0" + bytes(257))) == [bytes(257)]


def test_listed_elements():
    listed = [base64.b64encode(b"one").decode(), b"two"]  # REST sends text, gRPC bytes

    assert photos_in(tensor(shape=[2], data=listed)) == [b"one", b"two"]


@pytest.mark.parametrize("count", [1, 3])
def test_listed_elements_of_another_number(count):
    with pytest.raises(BadRequest, match=MISFIT):
        photos_in(tensor(shape=[count], data=[b"one", b"two"]))


@pytest.mark.parametrize("raw", [None, b""])
@pytest.mark.parametrize("count", [0, 65, 2**62])
def test_no_photos_and_too_many(raw, count):
    with pytest.raises(BadRequest, match=f"found {count} photos; send 1 to 64 in a request"):
        photos_in(tensor(shape=[count], data=[], raw=raw))


@pytest.mark.parametrize(
    ("datatype", "shape"), [("UINT8", [1]), ("BYTES", []), ("BYTES", [1, 1]), ("BYTES", [-1])]
)
def test_other_datatypes_and_shapes(datatype, shape):
    message = r"input 'image': datatype must be BYTES and shape \[N\]"
    with pytest.raises(BadRequest, match=message):
        photos_in(tensor(datatype=datatype, shape=shape, data=[b"one"]))


def test_quantities():
    assert quantities_in(record([0, 3, 2**31 - 1], count=3), 3) == [0, 3, 2**31 - 1]
    raw = b"\0\0\0\0\3\0\0\0\xff\xff\xff\x7f"
    assert quantities_in(record(raw=raw, count=3), 3) == [0, 3, 2**31 - 1]
    assert quantities_in(record(raw=b"", count=0), 0) == quantities_in(record([], count=0), 0) == []


@pytest.mark.parametrize(
    ("data", "raw"), [([1], None), ([1] * 3, None), (None, b"\0" * 7), (None, b"\0" * 12)]
)
def test_quantities_of_another_number(data, raw):
    with pytest.raises(BadRequest, match=f"input 'expected_quantity': {MISFIT}"):
        quantities_in(record(data, raw, count=2), 2)


def test_millions_of_quantities_are_not_looked_at():
    with pytest.raises(BadRequest, match="has 5000000 elements for 1 photos; send one for each"):
        quantities_in(record(raw=b"", count=5_000_000), 1)  # by the shape alone: there is no data


def test_a_quantity_that_is_none_is_named_by_its_place():
    message = "input 'expected_quantity': element 1: is not a whole number of items from 0 to 2147483647"
    for listed, raw in (([2, -1], None), (None, b"\2\0\0\0\xff\xff\xff\xff")):
        with pytest.raises(BadRequest, match=message):
            quantities_in(record(listed, raw, count=2), 2)


def test_quantities_have_a_datatype_of_their_own():
    with pytest.raises(BadRequest, match="input 'expected_quantity': datatype must be INT32"):
        quantities_in(tensor("expected_quantity", "BYTES", data=[1]), 1)


@pytest.mark.parametrize("value", [-1, 2**31, 1.0, True, None, "1", [1]])
def test_what_is_no_quantity(value):
    with pytest.raises(BadRequest, match="here: is not a whole number of items"):
        quantity(value, "here")


@pytest.mark.parametrize("text", ["a", "YQ=", "YQ==YQ==", "Y Q==", "YQ==\n", "é", "-_-_"])
def test_what_is_no_base64(text):
    with pytest.raises(BadRequest, match="there: is not base64"):
        from_base64(text, "there")


@pytest.mark.parametrize("value", [None, 7, b"YQ==", ["YQ=="]])
def test_what_is_no_text(value):
    with pytest.raises(BadRequest, match="there: is not text; send the photo as base64"):
        from_base64(value, "there")


def test_base64():
    assert from_base64("", "there") == b""
    assert from_base64("+/8=", "there") == b"\xfb\xff"


def test_raw_data_is_none_or_a_view():
    assert raw_data(tensor(data=[])) is None
    assert raw_data(tensor(raw=b"")) == b""
    assert isinstance(raw_data(tensor(raw=b"raw")), memoryview)


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_are_binary_in_row_major_little_endian_order(order):
    matrix = np.array([[1, 2], [3, 4]], f"{order}i4")

    assert to_binary(matrix) == b"\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0"
    assert to_binary(matrix.T) == b"\1\0\0\0\3\0\0\0\2\0\0\0\4\0\0\0"
    assert to_binary(np.array([1], f"{order}f4")) == b"\0\0\x80\x3f"


def test_byte_strings_are_binary_with_their_lengths():
    strings = np.array([[b"one", b""]], np.object_)

    assert to_binary(strings) == b"\3\0\0\0one\0\0\0\0"
    assert to_binary(np.zeros((0, 4), np.float32)) == to_binary(strings[:, :0]) == b""

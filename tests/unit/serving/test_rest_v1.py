"""Bodies of v1 requests."""

import pytest

from serving.predictors.protocol import Sent, sent_of
from serving.predictors.rest_v1 import parse_v1, request_of_photo
from stocktake.errors import BadRequest

BOTH = ["image", "expected_quantity"]


def instance(text="b25l", **fields):
    return {"image": {"b64": text}, **fields}


def test_photos_and_their_records():
    payload = parse_v1(bytearray(b'{"instances": [{"image": {"b64": "b25l"}, "expected_quantity": 4}]}'))

    assert sent_of(payload, BOTH) == Sent([b"one"], [4])
    with pytest.raises(BadRequest, match=r"instances\[0\]: has other names than image$"):
        sent_of(payload)  # this model knows none
    assert not sent_of({"instances": [instance(), instance(expected_quantity=0)]}, BOTH).has_quantities
    assert sent_of({"instances": [instance(), instance(expected_quantity=0)]}, BOTH).quantities == [None, 0]


@pytest.mark.parametrize("recorded", [[], ["0"], ["2147483647"]])
def test_a_photo_that_is_the_body(recorded):
    photo = memoryview(b"one")

    sent = sent_of(request_of_photo(photo, recorded), BOTH)

    assert sent.photos[0] is photo
    assert sent.quantities == [int(text) for text in recorded] or [None]


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "1.0", " 1", "²", "2147483648", "1" * 13, "9" * 5000])
def test_records_in_a_query_that_are_none(text):
    with pytest.raises(BadRequest, match="query parameter expected_quantity: is not a whole number of items"):
        request_of_photo(b"", [text])


def test_a_record_in_a_query_is_given_once():
    assert request_of_photo(b"", ["000000000004"])["instances"][0]["expected_quantity"] == 4
    with pytest.raises(BadRequest, match="query parameter expected_quantity: give it once"):
        request_of_photo(b"", ["1", "1"])


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, r'instances: there is no such list; send {"instances": \[{"image": {"b64": …}}\]}'),
        ({"instances": ()}, "instances: there is no such list"),
        ({"instances": []}, "found 0 photos; send 1 to 64"),
        ({"instances": [instance()] * 65}, "found 65 photos; send 1 to 64"),
        ({"instances": [None]}, r'instances\[0\]: is not {"image": {"b64": …}}'),
        ({"instances": [instance(), {"image": "b25l"}]}, r"instances\[1\]: is not"),
        ({"instances": [{"image": {}}]}, r"instances\[0\]: is not"),
        ({"instances": [{"image": {"b64": "", "url": ""}}]}, r"instances\[0\]: is not"),
        ({"instances": [instance(), instance("!")]}, r"instances\[1\]\.image\.b64: is not base64"),
        ({"instances": [instance(7)]}, r"instances\[0\]\.image\.b64: is not text"),
        (
            {"instances": [instance(expected_quantity=1), instance(expected_quantity=True)]},
            r"instances\[1\]\.expected_quantity: is not a whole number",
        ),
        ({"instances": [instance(expected_quantity=None)]}, r"instances\[0\]\.expected_quantity: is not"),
    ],
)
def test_instances_that_are_none(payload, message):
    with pytest.raises(BadRequest, match=message):
        sent_of(payload, BOTH)


@pytest.mark.parametrize("count", [1, 64])
def test_as_many_photos_as_may_be(count):
    assert len(sent_of({"instances": [instance()] * count}).photos) == count


def test_a_record_in_a_query_is_none_of_json():
    message = (
        "query parameter expected_quantity: goes with a photo as the body; with JSON give it in the instance"
    )
    with pytest.raises(BadRequest, match=message):
        parse_v1(b"{}", ["1"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON; send JSON, or to NAME:predict a photo as image/jpeg"),
        (b"\xff\xd8\xff", "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b"[" * 9_999, "the body is not JSON"),
        (b"[" * 10_001, "body: the JSON has more than 10,000 values"),
    ],
)
def test_bodies_that_are_no_object(body, message):
    with pytest.raises(BadRequest, match=message):
        parse_v1(body)

"""Bodies and answers that are packed with gzip or deflate."""

import json
import zlib

import pytest

from tests.serving.light_server import NAME, predicted
from tests.serving.wire import JPEG, LENGTH, binary, check_refusal, element, send

PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
PHOTO = b"kumquat"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "identity"])
def test_packed_bodies(light_connection, encoding):
    content, headers = binary(element(PHOTO))
    bits = {"gzip": 31, "deflate": 15}.get(encoding.lower())
    content = content if bits is None else zlib.compress(content, wbits=bits)

    response, said = send(light_connection, "POST", INFER, content, headers | {"Content-Encoding": encoding})

    assert response.status == 200
    assert response.headers["Content-Encoding"] is None
    assert json.loads(said)["outputs"][0]["data"] == [7]


@pytest.mark.parametrize(
    ("content", "encoding", "status", "message"),
    [
        (zlib.compress(bytes(200_001), wbits=31), "gzip", 413, "larger than 200,000 bytes"),
        (zlib.compress(bytes(1 << 27), wbits=15), "deflate", 413, "larger than 200,000 bytes"),
        (PHOTO, "gzip", 400, "Content-Encoding: the body is not gzip"),
        (zlib.compress(PHOTO, wbits=31), "deflate", 400, "the body is not deflate"),
        (zlib.compress(PHOTO, wbits=31)[:-1], "gzip", 400, "the body is cut off"),
        (zlib.compress(PHOTO, wbits=31) + PHOTO, "gzip", 400, "goes on after the end of its gzip"),
        (b"", "gzip", 400, "the body is cut off"),
        (PHOTO, "br", 415, "Content-Encoding: send one of gzip, deflate, or none"),
        (PHOTO, "gzip, gzip", 415, "Content-Encoding: send one of"),
    ],
)
def test_packed_bodies_that_are_refused(light_connection, content, encoding, status, message):
    response, said = send(light_connection, "POST", PREDICT, content, JPEG | {"Content-Encoding": encoding})

    check_refusal(response, said, status, message)
    assert not response.will_close
    assert response.headers["Accept-Encoding"] == ("gzip, deflate" if status == 415 else None)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, GZIP;q=0.5, deflate", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.000", None),
        ("identity", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("as_binary", [True, False])
def test_packed_answers(light_connection, accepted, encoding, as_binary):
    photo = PHOTO * 1000
    parameters = {"binary_data_output": as_binary}
    head, headers = binary(element(photo))
    head = head[: int(headers[LENGTH])]
    head = json.dumps({**json.loads(head), "parameters": parameters}).encode()
    headers = {LENGTH: str(len(head)), "Accept-Encoding": accepted}

    response, said = send(light_connection, "POST", INFER, head + element(photo), headers)

    assert response.headers["Content-Encoding"] == encoding
    said = said if encoding is None else zlib.decompress(said, {"gzip": 31, "deflate": 15}[encoding])
    length = int(response.headers.get(LENGTH, len(said)))
    assert (length < len(said)) == as_binary
    assert json.loads(said[:length])["outputs"][2]["shape"] == [1]
    assert said.endswith(element(photo)) == as_binary


def test_answers_that_are_short_are_not_packed(light_connection):
    response, said = send(light_connection, "POST", PREDICT, PHOTO, JPEG | {"Accept-Encoding": "gzip"})

    assert response.headers["Content-Encoding"] is None
    assert json.loads(said) == predicted(7)

"""What a client may get wrong in a v1 request, of JSON or of a photo that is the body."""

import base64
import json

import pytest

from tests.serving.wire import JPEG, JSON, PREDICT, RUBBISH, check

NO_INSTANCE = 'instances[0]: is not {"image": {"b64": …}}'


def instances(*images):
    return json.dumps({"instances": [{"image": image} for image in images]}).encode()


CASES = {
    "no body": (b"", JSON, 400, "the body is not JSON"),
    "broken json": (b"{kumquat", JSON, 400, "the body is not JSON"),
    "not utf-8": (b'{"instances": "\xff\xfe"}', JSON, 400, "the body is not JSON"),
    "deeply nested": (b"[" * 9_000, JSON, 400, "the body is not JSON"),
    "more values than a request has": (b"[" * 20_001, JSON, 400, "the JSON has more than 10,000 values"),
    "a list": (b'["kumquat"]', JSON, 400, "the body is not a JSON object"),
    "no instances": (b'{"kumquat": 1}', JSON, 400, "instances: there is no such list"),
    "null for instances": (b'{"instances": null}', JSON, 400, 'Expected "instances" to be a list'),
    "one instance": (b'{"instances": {"kumquat": 1}}', JSON, 400, 'Expected "instances" to be a list'),
    "a text for an instance": (b'{"instances": ["kumquat"]}', JSON, 400, NO_INSTANCE),
    "pixels": (b'{"instances": [[1, 2, 3]]}', JSON, 400, NO_INSTANCE),
    "no image": (b'{"instances": [{"kumquat": 1}]}', JSON, 400, NO_INSTANCE),
    "a text for an image": (instances(RUBBISH), JSON, 400, NO_INSTANCE),
    "no b64": (instances({"kumquat": ""}), JSON, 400, NO_INSTANCE),
    "more than b64": (instances({"b64": RUBBISH, "kumquat": 1}), JSON, 400, NO_INSTANCE),
    "the second instance": (instances({"b64": RUBBISH}, {}), JSON, 400, "instances[1]: is not"),
    "b64 is a number": (instances({"b64": 7}), JSON, 400, "instances[0].image.b64: is not text"),
    "b64 is null": (instances({"b64": None}), JSON, 400, "instances[0].image.b64: is not text"),
    "not base64": (instances({"b64": "kumquat!"}), JSON, 400, "instances[0].image.b64: is not base64"),
    "no photos": (instances(), JSON, 400, "found 0 photos"),
    "too many photos": (instances(*[{"b64": RUBBISH}] * 65), JSON, 400, "found 65 photos"),
    "not a photo": (instances({"b64": RUBBISH}), JSON, 415, "photo 0: 63 bytes that are not"),
    "no content type": (instances({"b64": RUBBISH}), {}, 415, "photo 0: 63 bytes that are not"),
    "body is not a photo": (b"kumquat", JPEG, 415, "photo 0: 7 bytes that are not"),
    "body is empty": (b"", JPEG, 415, "photo 0: 0 bytes that are not"),
    "body is JSON": (instances({"b64": RUBBISH}), JPEG, 415, "photo 0: "),
    "photo of another type": (b"GIF89akumquat", {"Content-Type": "image/gif"}, 415, "photo 0: 13 bytes"),
    "photo without its type": (base64.b64decode(RUBBISH), {}, 400, "the body is not JSON"),
    "a large photo without its type": (
        b"\xff\xd8kumquat" + b"," * 10_001,
        {},
        400,
        "the body is not JSON; send",
    ),
    "a large form": (
        b"--kumquat" + b"[" * 10_001,
        {"Content-Type": "multipart/form-data"},
        400,
        "is not JSON",
    ),
    "a form": (b"--kumquat", {"Content-Type": "multipart/form-data"}, 400, "the body is not JSON"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal(connection, case):
    content, headers, status, message = CASES[case]
    check(connection, PREDICT, content, headers, status, message)

"""Photos that are none, or odd ones, over each protocol: refused by their place, or answered as offline."""

import base64
import io
import json

import grpc
import numpy as np
import pytest
from PIL import Image

from stocktake.errors import UnsupportedImage
from tests.serving.clients import ask
from tests.serving.conftest import encode
from tests.serving.wire import INFER, JPEG, JSON, PREDICT, binary, check, element, send, v2
from tests.unit.test_images import png

RANDOM = np.random.default_rng(4)


def noise(size):
    return RANDOM.integers(0, 256, size, dtype=np.uint8).tobytes()


def cut_or_flipped(photo, count):
    """The file without its end, from everything to a byte, and with single bits turned around."""
    cuts = [photo[:end] for end in np.linspace(1, len(photo) - 3, count).astype(int)]
    flips = []
    for place in RANDOM.integers(0, len(photo), count):
        flipped = bytearray(photo)
        flipped[place] ^= 1 << int(RANDOM.integers(8))
        flips.append(bytes(flipped))
    return cuts, flips


def animated():
    frames = [Image.new("RGB", (96, 96), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


RUBBISH = {
    "random bytes": noise(5000),
    "the start of a jpeg": b"\xff\xd8\xff\xe0" + noise(5000),
    "the start of a png": b"\x89PNG\r\n\x1a\n" + noise(5000),
    "the start of a webp": b"RIFF\0\0\1\0WEBPVP8 " + noise(5000),
    "zeros": bytes(5000),
    "text": "Ware fehlt".encode("utf-16"),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish(connection, server, kind):
    data = RUBBISH[kind]

    check(connection, PREDICT, data, JPEG, 415, "photo 0: ")
    check(connection, INFER, v2(data=[base64.b64encode(data).decode()]), JSON, 415, "photo 0: ")
    for way in ("grpc-raw", "grpc-typed"):
        with pytest.raises(grpc.RpcError) as caught:
            ask(server, [data], way)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "photo 0: " in caught.value.details()


def test_photos_without_their_end(connection, photos):
    for data in cut_or_flipped(photos["turned"], 12)[0]:
        check(connection, PREDICT, data, JPEG, 415, "photo 0: ")


@pytest.mark.parametrize("way", ["rest-binary", "rest-raw", "grpc-raw"])
def test_a_png_without_its_end(server, connection, way):
    data = encode(np.zeros((96, 96, 3), np.uint8), "PNG")[:-20]
    if way == "grpc-raw":
        with pytest.raises(grpc.RpcError) as caught:
            ask(server, [data], way)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    elif way == "rest-raw":
        check(connection, PREDICT, data, {"Content-Type": "image/png"}, 415, "photo 0: a png that ends in")
    else:
        content, headers = binary(element(data))
        check(connection, INFER, content, headers, 415, "photo 0: a png that ends in")


def test_photos_with_a_flipped_bit_are_answered_as_offline(connection, detector, photos):
    for data in cut_or_flipped(photos["turned"], 24)[1]:
        try:
            expected = {"predictions": [detector.detect(data).to_json()]}
        except UnsupportedImage as error:
            expected = {"error": f"photo 0: {error}"}

        response, said = send(connection, "POST", PREDICT, data, JPEG)

        assert response.status in (200, 413, 415)
        assert json.loads(said) == expected
        assert not response.will_close


def test_one_bad_photo_among_good_ones(connection, photos):
    data = [base64.b64encode(photo).decode() for photo in (photos["shelf"], photos["turned"][:-40])]

    check(connection, INFER, v2(shape=[2], data=data), JSON, 415, "photo 1: the jpeg is truncated")


def test_photos_of_too_many_pixels(connection):
    check(connection, PREDICT, png(20_000, 20_000), JPEG, 413, "photo 0: the photo has")


@pytest.mark.parametrize("way", ["rest-binary", "rest-json", "grpc-raw", "grpc-typed"])
def test_as_many_photos_as_may_be(server, detector, photos, way):
    """Among them odd ones: a pixel, 16 bits, four inks, an animation."""
    dot = encode(np.zeros((1, 1, 3), np.uint8), "PNG")
    deep = encode(np.full((96, 96), 40_000, np.uint16), "PNG")
    inks = io.BytesIO()
    Image.new("CMYK", (96, 96), (0, 80, 90, 10)).save(inks, "JPEG")
    sent = [photos["shelf"], dot, deep, inks.getvalue(), animated(), *[photos["blank"]] * 59]

    answer = ask(server, sent, way, ["report", "image_index"])

    reports = [json.loads(report) for report in answer["report"]]
    assert reports == [detector.detect(data).to_json() for data in sent]

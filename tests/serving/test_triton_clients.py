"""Triton's clients, whose protocol is ours: REST with its binary mode and compression, and gRPC."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from tests.serving import triton_asks
from tests.serving.conftest import BINS, NAME
from tests.serving.wire import MARK

MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def process():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=["http", "grpc"])
def triton(process, server, request):
    """Calls a function of `triton_asks` with a protocol and its address."""
    protocol = request.param
    address = server.grpc if protocol == "grpc" else f"127.0.0.1:{server.http_port}"

    def call(function, *args, **options):
        return process.submit(function, protocol, address, *args, **options).result()

    return call


def test_health_and_metadata(triton):
    assert triton(triton_asks.look, BINS) == {
        "live": True,
        "ready": True,
        "extensions": ["binary_tensor_data"],
        "outputs": ["count", "probabilities", "match_probability", "verdict"],
        "models": {"any": True, "served": True, "older": False, "none": False},
    }


@pytest.mark.parametrize("outputs", [None, {"scores": {}, "void_kinds": {}}])
def test_several_photos(triton, detector, photos, outputs):
    sent = [photos["shelf"], photos["blank"], photos["webp"]]

    answer = triton(
        triton_asks.infer, NAME, sent, outputs=outputs, request_id="42", timeout=MINUTE_US, priority=1
    )

    reports = [detector.detect(photo) for photo in sent]
    assert answer["id"] == "42"
    assert answer["in_json"] == []  # what Triton's client gets if it does not ask for anything else
    assert answer["scores"] == pytest.approx(np.concatenate([report.scores for report in reports]))
    kinds = [void.kind.encode() for report in reports for void in report.voids]
    assert answer["void_kinds"].tolist() == kinds
    assert ("boxes" in answer) == (outputs is None)


def test_two_inputs(triton, counter, bins):
    answer = triton(triton_asks.infer, BINS, bins, [1, 3, 9, 3])

    assert answer["count"].tolist() == [counter.count(photo).count for photo in bins]
    assert answer["verdict"].tolist() == [b"accept", b"reject", b"ask", b"ask"]


@pytest.mark.parametrize("triton", ["http"], indirect=True)
def test_an_output_in_json_beside_a_binary_one(triton, counter, bins):
    outputs = {"probabilities": {"binary_data": False}, "count": {"binary_data": True}}

    answer = triton(triton_asks.infer, BINS, bins, outputs=outputs)

    assert answer["in_json"] == ["probabilities"]
    expected = np.stack([counter.count(photo).probabilities for photo in bins])
    assert answer["probabilities"] == pytest.approx(expected)
    assert answer["count"].dtype == np.int32


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_both_ways(triton, detector, photos, algorithm):
    answer = triton(triton_asks.infer, NAME, [photos["shelf"]] * 9, compression=algorithm)

    assert answer["scores"] == pytest.approx(np.tile(detector.detect(photos["shelf"]).scores, 9))


@pytest.mark.parametrize(
    ("model", "options", "status", "message"),
    [
        ("none", {}, ("404", "StatusCode.NOT_FOUND"), "there is no model of this name"),
        (NAME, {"model_version": "2"}, ("404", "StatusCode.NOT_FOUND"), "the version of shelf-detector"),
        (NAME, {}, ("415", "StatusCode.INVALID_ARGUMENT"), "photo 0: 7 bytes that are not"),
        (
            BINS,
            {"outputs": {"count": {"class_count": 2}}},
            ("400", "StatusCode.INVALID_ARGUMENT"),
            "outputs.0.parameters.classification: is not offered",
        ),
        (
            NAME,
            {"quantities": [1]},
            ("400", "StatusCode.INVALID_ARGUMENT"),
            "found 2 inputs; send one, called 'image'",
        ),
    ],
)
def test_errors(triton, model, options, status, message):
    answer = triton(triton_asks.infer, model, [MARK.encode()], **options)

    assert answer["status"] in status
    assert message in answer["message"]


def test_a_time_limit_that_passes(triton, photos):
    answer = triton(triton_asks.infer, "slow", [photos["shelf"]], timeout=1000)

    assert answer["status"] in ("504", "StatusCode.DEADLINE_EXCEEDED")
    assert "was not answered in the time that it has" in answer["message"]

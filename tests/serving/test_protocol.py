"""Framing and faults that a well-behaved client can't produce."""

import asyncio
import json

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve import Model, ModelRepository

from serving.predictors.protocol import answer, encode_infer_response, parse_infer_request, sent_of
from serving.predictors.rest import add_routes
from serving.predictors.server import PredictorDataPlane
from stocktake.errors import BadRequest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("image") | json_values,
        "shape": st.lists(st.integers(-2, 3), max_size=2) | json_values,
        "datatype": st.sampled_from(["BYTES", "FP32", "UINT8"]) | json_values,
        "data": st.lists(st.sampled_from(["aGVsbG8=", "x", 7]), max_size=3) | json_values,
        "parameters": st.dictionaries(st.just("binary_data_size"), st.integers(-3, 30)) | json_values,
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "inputs": st.lists(tensors, max_size=3) | json_values,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["a", "b", 1])})) | json_values,
        "parameters": json_values,
    },
)


@settings(max_examples=150, deadline=None)
@given(
    bodies, st.binary(max_size=30), st.none() | st.integers(-5, 400) | st.text(max_size=4) | st.just("fit")
)
def test_no_request_breaks_the_parser(body, tail, length):
    head = json.dumps(body).encode()
    header = str(len(head)) if length == "fit" else None if length is None else str(length)
    try:
        request = parse_infer_request(head + tail, header, "model")
        photos = sent_of(request).photos
        response = answer(request, {"a": np.zeros((0, 4), np.float32), "b": np.zeros(2, np.int32)})
        encode_infer_response(request, response)
    except BadRequest:
        return
    assert all(isinstance(photo, bytes) for photo in photos)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=64))
def test_binary_elements_arrive_as_they_were_sent(elements):
    raw = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    tensor = {"name": "image", "shape": [len(elements)], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}).encode()

    assert sent_of(parse_infer_request(head + raw, str(len(head)), "model")).photos == elements


class Echo(Model):
    """Says how many bytes came, or fails in a way that nobody foresaw."""

    def __init__(self):
        super().__init__("echo")
        self.load()

    async def predict(self, payload, headers=None):
        data = payload["instances"][0]["image"]
        if data == b"fail":
            raise RuntimeError("kumquat")
        return {"predictions": [len(data)]}


@pytest.fixture
def dataplane():
    registry = ModelRepository()
    registry.update(Echo())
    return PredictorDataPlane(registry, list(registry.get_models().values()))


@pytest.fixture
def client(dataplane):
    app = FastAPI()
    add_routes(app, dataplane, max_body_bytes=1000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def post(**request):
        async def send():
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.post(
                    "/v1/models/echo:predict", headers={"content-type": "image/jpeg"}, **request
                )

        return asyncio.run(send())

    return post


async def chunks(count, size):
    for _ in range(count):
        yield bytes(size)


def test_bodies_up_to_the_limit_are_read(client):
    assert client(content=bytes(1000)).json() == {"predictions": [1000]}
    assert client(content=chunks(10, 100)).json() == {"predictions": [1000]}


def test_bodies_beyond_the_limit_are_refused_however_they_come(client):
    for content in (bytes(1001), chunks(11, 100)):
        response = client(content=content)

        assert response.status_code == 413
        assert response.json() == {
            "error": "the body is larger than 1,000 bytes; send fewer or smaller photos"
        }


def test_faults_of_ours_are_not_told(client):
    response = client(content=b"fail")

    assert response.status_code == 500
    assert list(response.json()) == ["error"]
    assert "kumquat" not in response.text


def test_a_model_that_is_not_ready_makes_the_server_not_ready(dataplane):
    assert asyncio.run(dataplane.ready())

    dataplane.get_model_from_registry("echo").stop()

    assert not asyncio.run(dataplane.ready())

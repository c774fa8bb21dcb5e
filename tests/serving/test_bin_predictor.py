"""The bin counter beside the shelf detector, asked in every way, over real connections."""

import asyncio
import base64

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, RESTConfig

from tests.serving.clients import ask
from tests.serving.conftest import BINS

WAYS = ["rest-json", "rest-binary", "grpc-raw", "grpc-typed"]
RECORDS = [1, 3, 9, 3]
VERDICTS = ["accept", "reject", "ask", "ask"]


def text(values):
    """BYTES come as bytes or, through JSON, as text."""
    return [value.decode() if isinstance(value, bytes) else value for value in values]


@pytest.mark.parametrize("way", WAYS)
def test_counts_are_the_offline_counts(server, counter, bins, way):
    reports = [counter.count(data) for data in bins]
    assert [report.count for report in reports[:3]] == [1, 2, 5]

    answer = ask(server, bins, way, model=BINS)

    assert list(answer) == ["count", "probabilities"]
    assert (answer["count"].dtype, answer["probabilities"].dtype) == (np.int32, np.float32)
    assert answer["count"].tolist() == [report.count for report in reports]
    assert answer["probabilities"].shape == (4, 5)
    assert answer["probabilities"] == pytest.approx(np.stack([report.probabilities for report in reports]))


@pytest.mark.parametrize("way", WAYS)
def test_records_are_verified_as_offline(server, counter, bins, way):
    reports = [counter.count(*pair) for pair in zip(bins, RECORDS, strict=True)]
    assert [report.verdict for report in reports] == VERDICTS

    answer = ask(server, bins, way, model=BINS, quantities=RECORDS)

    assert list(answer) == ["count", "probabilities", "match_probability", "verdict"]
    assert (answer["match_probability"].dtype, answer["verdict"].dtype) == (np.float32, np.object_)
    assert answer["match_probability"] == pytest.approx([report.match_probability for report in reports])
    assert answer["match_probability"][2] == 0
    assert text(answer["verdict"]) == VERDICTS


@pytest.mark.parametrize("way", WAYS)
def test_exactly_the_requested_outputs(server, bins, way):
    wanted = ["verdict", "count"]
    assert list(ask(server, bins, way, wanted, BINS, RECORDS)) == wanted


def test_quantities_may_come_first(server, bins):
    image = {"name": "image", "shape": [1], "datatype": "BYTES"}
    image["data"] = [base64.b64encode(bins[0]).decode()]
    record = {"name": "expected_quantity", "shape": [1], "datatype": "INT32", "data": [1]}

    response = httpx.post(f"{server.url}/v2/models/{BINS}/infer", json={"inputs": [record, image]})

    answer = {output["name"]: output["data"] for output in response.json()["outputs"]}
    assert (answer["count"], answer["verdict"]) == ([1], ["accept"])


def test_v1_verifies_those_that_have_a_record(server, counter, bins):
    instances = [{"image": {"b64": base64.b64encode(data).decode()}} for data in bins]
    instances[1]["expected_quantity"] = 2

    async def predict():
        async with InferenceRESTClient(RESTConfig(protocol="v1", retries=0)) as client:
            return await client.infer(server.url, {"instances": instances}, model_name=BINS)

    expected = [counter.count(data, 2 if number == 1 else None) for number, data in enumerate(bins)]
    assert asyncio.run(predict()) == {"predictions": [report.to_json() for report in expected]}


@pytest.mark.parametrize(("query", "record"), [("", None), ("?expected_quantity=2", 2)])
def test_v1_with_the_photo_as_the_body(server, counter, bins, query, record):
    response = httpx.post(
        f"{server.url}/v1/models/{BINS}:predict{query}",
        content=bins[1],
        headers={"content-type": "image/jpeg"},
    )

    assert response.json() == {"predictions": [counter.count(bins[1], record).to_json()]}


def test_metadata_says_what_is_optional_and_how_many_classes(server):
    metadata = httpx.get(f"{server.url}/v2/models/{BINS}").json()
    assert metadata["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "expected_quantity", "datatype": "INT32", "shape": [-1]},
    ]
    assert [(output["name"], output["shape"]) for output in metadata["outputs"]] == [
        ("count", [-1]),
        ("probabilities", [-1, 5]),
        ("match_probability", [-1]),
        ("verdict", [-1]),
    ]


def test_shelves_and_bins_in_one_process_at_once(server, counter, detector, bins, photos):
    async def ask_both():
        async with httpx.AsyncClient(base_url=server.url, headers={"content-type": "image/jpeg"}) as client:
            calls = [
                client.post(f"/v1/models/{name}:predict", content=data)
                for name, data in [(BINS, bins[0]), ("shelf-detector", photos["shelf"])] * 8
            ]
            return [response.json()["predictions"][0] for response in await asyncio.gather(*calls)]

    expected = [counter.count(bins[0]).to_json(), detector.detect(photos["shelf"]).to_json()]
    assert asyncio.run(ask_both()) == expected * 8

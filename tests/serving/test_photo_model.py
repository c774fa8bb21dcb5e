"""A real detector of 1 kB behind `PhotoModel.predict`, without a server."""

import asyncio
import json
import logging

import numpy as np
import pytest

from serving.predictors.admission import Capacity
from serving.predictors.errors import ClientError, NotReady, Overloaded
from stocktake.errors import PhotoTooLarge, UnsupportedImage
from tests.serving.conftest import NAME, encode
from tests.serving.loaded import loaded_detector, predict, request_of


@pytest.fixture(scope="module")
def model(model_dirs):
    with loaded_detector(model_dirs[NAME]) as model:
        yield model


def reports_of(response):
    (output,) = [output for output in response.outputs if output.name == "report"]
    return [json.loads(report) for report in output.data]


def test_many_photos_are_answered_in_their_order(model, detector, photos):
    sent = [photos[name] for name in ("shelf", "turned", "blank", "webp")] * 16
    expected = [detector.detect(photo).to_json() for photo in sent[:4]] * 16
    assert reports_of(predict(model, request_of(*sent))) == expected


def test_many_requests_at_once(model, detector, photos):
    sent = [photos[name] for name in ("shelf", "turned", "blank", "webp")] * 8

    async def ask_all():
        return await asyncio.gather(*[model.predict(request_of(photo)) for photo in sent])

    expected = [[detector.detect(photo).to_json()] for photo in sent]
    assert [reports_of(response) for response in asyncio.run(ask_all())] == expected


@pytest.mark.parametrize("number", [0, 2, 63])
def test_a_bad_photo_is_named_by_its_number(model, photos, number):
    sent = [photos["blank"]] * 64
    sent[number] = b"kumquat"
    with pytest.raises(ClientError, match=f"^photo {number}: 7 bytes that are not a JPEG") as caught:
        predict(model, request_of(*sent))
    assert isinstance(caught.value.cause, UnsupportedImage)


def test_the_kind_of_mistake_is_kept(model):
    bomb = encode(np.zeros((9000, 9000), np.uint8), "PNG")
    with pytest.raises(ClientError, match=r"^photo 0: the photo has 9000x9000 pixels") as caught:
        predict(model, request_of(bomb))
    assert isinstance(caught.value.cause, PhotoTooLarge)


def test_photos_beyond_the_limit_are_refused_and_their_place_comes_back(model_dirs, photos):
    async def ask(model):
        full = request_of(*[photos["blank"]] * 64)
        outcomes = await asyncio.gather(model.predict(full), model.predict(full), return_exceptions=True)
        single = await model.predict(request_of(photos["blank"]))
        again = await model.predict(full)
        return outcomes, single, again

    with loaded_detector(model_dirs[NAME], Capacity(further_photos=63)) as model:
        outcomes, single, again = asyncio.run(ask(model))
    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 1
    assert [len(reports_of(response)) for response in (single, again)] == [1, 64]


def test_after_the_end(model_dirs, photos):
    with loaded_detector(model_dirs[NAME]) as model:
        pass
    with pytest.raises(NotReady):
        predict(model, request_of(photos["blank"]))


def test_a_fault_of_ours_is_no_mistake_of_the_client(model, photos, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(model.detector, "interpret", fail)
    with pytest.raises(Exception, match="photo 0 failed") as caught:
        predict(model, request_of(photos["blank"]))
    assert not isinstance(caught.value, ClientError)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(("headers", "in_body", "found"), [({"x-request-id": "a"}, "b", "a"), ({}, "b", "b")])
def test_what_is_logged_meanwhile_carries_the_request_id(model, photos, monkeypatch, headers, in_body, found):
    from serving.logs import JsonFormatter

    lines = []
    to_tensors = model.to_tensors

    def log(reports):
        record = logging.LogRecord("test", logging.INFO, "", 0, "here", (), None)
        lines.append(JsonFormatter().format(record))
        return to_tensors(reports)

    monkeypatch.setattr(model, "to_tensors", log)
    predict(model, request_of(photos["blank"], request_id=in_body), headers)
    assert [json.loads(line)["request_id"] for line in lines] == [found]

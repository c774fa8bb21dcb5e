"""What the gateway makes of what predictors answer, or of what stands before them."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL.ImageFile import ImageFile

from serving.gateway.errors import Away, DeadlineExceeded, Overloaded, Unavailable
from serving.gateway.model_answers import Answer
from serving.gateway.predictors import Predictors
from serving.gateway.records.tables import Task
from serving.gateway.settings import load_gateway_settings
from serving.gateway.unpacking import AT_ONCE, Unpacking
from stocktake.errors import BadRequest, PhotoTooLarge, UnsupportedImage
from tests.fixed_server import PAGE, FixedServer
from tests.gateway_thread import grey_photo

VOID = {"box": [1.5, 2, 3, 4], "tier": 1, "position": 2, "facings": 3, "confidence": 0.7, "kind": "gap"}
REPORT = {"products": 1, "tiers": 1, "osa": 0.5, "voids": [VOID]}
SHELF = {"report": [json.dumps(REPORT)], "boxes": [1.26, 2, 3, 4], "scores": [0.12345]}
BIN = {"count": [2], "probabilities": [0.1, 0.9]}


def ask(url: str, task: Task = Task.SHELVES, unpacking: Unpacking | None = None) -> Answer:
    async def ask_once() -> Answer:
        settings = load_gateway_settings(shelves_url=url, bins_url=url, measure_every=1)
        predictors = Predictors(settings, unpacking)
        try:
            return await predictors.ask(task, grey_photo(50))
        finally:
            await predictors.close()

    return asyncio.run(ask_once())


def v2(outputs: dict[str, list], **more: object) -> bytes:
    said = [{"name": name, "data": data} for name, data in outputs.items()]
    return json.dumps({"model_name": "m", "outputs": said, **more}).encode()


def error(said: object) -> bytes:
    return json.dumps({"error": said}).encode()


@pytest.mark.parametrize(
    ("status", "content", "kind", "said"),
    [
        (400, error("no photo"), BadRequest, "^no photo$"),
        (413, error("too many pixels"), PhotoTooLarge, "^too many pixels$"),
        (415, error("no JPEG"), UnsupportedImage, "^no JPEG$"),
        (400, PAGE, Unavailable, "^what stands before shelf-detector refuses the photo: HTTP 400$"),
        (413, PAGE, Unavailable, "before shelf-detector refuses the photo: HTTP 413$"),
        (413, error({"code": 7}), Unavailable, "HTTP 413$"),
        (415, b"", Unavailable, "HTTP 415$"),
        (401, error("give a token"), Away, "^shelf-detector cannot be asked: HTTP 401, give a token$"),
        (403, PAGE, Away, "^shelf-detector cannot be asked: HTTP 403$"),
        (404, error("no such model"), Away, "HTTP 404, no such model$"),
        (405, PAGE, Away, "HTTP 405$"),
        (302, b"", Away, "HTTP 302$"),
        (503, PAGE, Away, "^shelf-detector is not ready: HTTP 503$"),
        (429, PAGE, Overloaded, "too much to do"),
        (504, PAGE, DeadlineExceeded, "did not answer in time"),
        (500, PAGE, Unavailable, "^shelf-detector refuses: HTTP 500$"),
        (502, PAGE, Unavailable, "HTTP 502$"),
    ],
)
def test_what_a_status_means(status, content, kind, said):
    with FixedServer(status, content, Location="/elsewhere") as server:
        with pytest.raises(kind, match=said) as refusal:
            ask(server.url)
        assert server.asked == 1
    assert type(refusal.value) is kind


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("Sun, 22 Nov 2026", 1), ("9" * 5000, 1)])
def test_when_to_come_back(header, seconds):
    with FixedServer(429, Retry_After=header) as server, pytest.raises(Overloaded) as refusal:
        ask(server.url)
    assert refusal.value.retry_after_s == seconds


def test_an_answer_is_read():
    with FixedServer(content=v2(SHELF, model_version="7")) as server:
        answer = ask(server.url)
    assert (answer.report, answer.products) == (REPORT, [[1.3, 2, 3, 4, 0.123]])
    assert (answer.model, answer.version) == ("m", "7")
    with FixedServer(content=v2(BIN)) as server:
        assert ask(server.url, Task.BINS).report == {"count": 2, "probabilities": [0.1, 0.9]}


@pytest.mark.parametrize(
    ("task", "content", "where"),
    [
        (Task.SHELVES, PAGE, "the body: Invalid JSON"),
        (Task.SHELVES, b"[]", "the body: "),
        (Task.SHELVES, error("no"), "model_name: "),
        (Task.SHELVES, v2({"report": SHELF["report"], "boxes": []}), "scores: "),
        (Task.SHELVES, v2({**SHELF, "report": ["{"]}), "report.0: Invalid JSON"),
        (Task.SHELVES, v2({**SHELF, "report": ["{}"]}), "products: "),
        (Task.SHELVES, v2({**SHELF, "report": [json.dumps({**REPORT, "voids": [{}]})]}), "voids.0.box: "),
        (Task.SHELVES, v2({**SHELF, "report": [json.dumps({**REPORT, "osa": float("nan")})]}), "osa: "),
        (Task.SHELVES, v2({**SHELF, "scores": [0.1, 0.2]}), "boxes and scores"),
        (Task.SHELVES, v2(SHELF, model_version="7" * 65), "model_version: "),
        (Task.BINS, v2(SHELF), "count: "),
        (Task.BINS, v2({**BIN, "probabilities": []}), "probabilities: "),
        (Task.BINS, v2({**BIN, "count": ["many"]}), "count.0: "),
    ],
)
def test_an_answer_that_is_none(task, content, where):
    said = f"answers what is not understood: .*{where}"
    with FixedServer(content=content) as server, pytest.raises(Unavailable, match=said) as refusal:
        ask(server.url, task)
    assert type(refusal.value) is Unavailable
    assert "html" not in str(refusal.value)


def test_a_photo_that_cannot_be_measured_is_answered(monkeypatch, caplog):
    def load(_photo):
        raise MemoryError

    monkeypatch.setattr(ImageFile, "load", load)
    with FixedServer(content=v2(BIN)) as server:
        assert ask(server.url, Task.BINS).measures == {"count": 2, "probability": 0.9}
    assert "a photo is not measured" in caplog.text


def test_no_answer_waits_for_memory_to_measure_its_photo():
    unpacking = Unpacking()
    with FixedServer(content=v2(BIN)) as server, ThreadPoolExecutor(1) as pool, unpacking.hold(AT_ONCE):
        asked = pool.submit(ask, server.url, Task.BINS, unpacking)
        assert asked.result(60).measures == {"count": 2, "probability": 0.9}
    with FixedServer(content=v2(BIN)) as server:
        assert "brightness" in ask(server.url, Task.BINS, unpacking).measures

import asyncio
import contextlib
from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from serving.predictors import metrics
from serving.predictors.errors import ClientError, Overloaded
from stocktake.errors import BadRequest, UnsupportedImage
from stocktake.model_card import ModelCard, verify_sums
from tests.serving.clients import ask

FACTS = {"digest": "d" * 64, "engine": "openvino", "device": "cpu", "precision": "bf16"}


@pytest.fixture
def model():
    metrics.model_loaded("observed", **FACTS)
    yield "observed"
    metrics.model_unloaded("observed")


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def counted(model_name, protocol, outcome=None, code=None):
    """The code that one more request was counted with."""

    def count():
        return {
            sample.labels["code"]: sample.value
            for family in REGISTRY.collect()
            if family.name == "stocktake_requests"
            for sample in family.samples
            if sample.name == "stocktake_requests_total"
            and (sample.labels["model"], sample.labels["protocol"]) == (model_name, protocol)
        }

    before = count()
    raises = pytest.raises(type(outcome)) if outcome else contextlib.nullcontext()
    with raises:
        with metrics.observe_request(model_name, protocol) as seen:
            seen.code = code
            assert value("stocktake_requests_in_flight", model=model_name) == 1
            if outcome:
                raise outcome
    assert value("stocktake_requests_in_flight", model=model_name) == 0
    (found,) = [code for code, number in count().items() if number != before.get(code, 0)]
    return found


@pytest.mark.parametrize(
    ("outcome", "rest", "grpc"),
    [
        (None, "200", "OK"),
        (BadRequest("x"), "400", "INVALID_ARGUMENT"),
        (ClientError(UnsupportedImage("x")), "415", "INVALID_ARGUMENT"),
        (Overloaded(1), "429", "RESOURCE_EXHAUSTED"),
        (ZeroDivisionError(), "500", "INTERNAL"),
        (asyncio.CancelledError(), "499", "CANCELLED"),
    ],
)
def test_requests_are_counted_by_what_they_are_answered_with(model, outcome, rest, grpc):
    assert counted(model, "rest-v2", outcome) == rest
    assert counted(model, "rest-v1", outcome) == rest
    assert counted(model, "grpc", outcome) == grpc


def test_a_route_that_answers_itself_says_with_what(model):
    assert counted(model, "rest-v1", code="413") == "413"
    assert counted(model, "rest-v1", ZeroDivisionError(), code="503") == "503"


def test_the_time_of_a_request_is_counted(model):
    before = value("stocktake_request_seconds_count", model=model, protocol="rest-v2")
    counted(model, "rest-v2")
    assert value("stocktake_request_seconds_count", model=model, protocol="rest-v2") == before + 1


def test_no_client_can_make_a_label(model):
    before = value("stocktake_requests_total", model="", protocol="grpc", code="OK")
    for name in ("no-such-model", "", "observed "):
        with metrics.observe_request(name, "grpc"):
            pass
    assert value("stocktake_requests_total", model="", protocol="grpc", code="OK") == before + 3
    assert "no-such-model" not in metrics.MODEL._metrics


def test_a_model_that_is_loaded_anew_replaces_what_was_said_of_it(model):
    assert value("stocktake_model_info", model=model, **FACTS) == 1
    metrics.model_loaded(model, **{**FACTS, "digest": "e" * 64})
    assert value("stocktake_model_info", model=model, **FACTS) == 0
    assert value("stocktake_model_info", model=model, **{**FACTS, "digest": "e" * 64}) == 1


def test_a_model_says_when_it_was_made():
    metrics.model_trained("dated", datetime(2026, 11, 1, tzinfo=UTC))
    assert value("stocktake_model_trained_timestamp_seconds", model="dated") == 1793491200


def test_a_model_that_is_gone_has_no_label_any_more():
    metrics.model_loaded("gone", **FACTS)
    metrics.model_trained("gone", datetime(2026, 11, 1, tzinfo=UTC))
    metrics.model_unloaded("gone")
    assert value("stocktake_model_info", model="gone", **FACTS) == 0
    assert value("stocktake_model_trained_timestamp_seconds", model="gone") == 0
    before = value("stocktake_requests_total", model="", protocol="grpc", code="OK")
    with metrics.observe_request("gone", "grpc"):
        pass
    assert value("stocktake_requests_total", model="", protocol="grpc", code="OK") == before + 1


def test_load_is_zero_before_the_first_request(model):
    labels = {"model": model}
    for name in ("requests_in_flight", "photos_waiting", "photos_working"):
        assert REGISTRY.get_sample_value(f"stocktake_{name}", labels) == 0


def test_gpu_memory_without_a_gpu():
    found = metrics.watch_gpu_memory()
    used = [family for family in REGISTRY.collect() if family.name == "stocktake_gpu_memory_used_bytes"]
    assert len(used[0].samples) == found


def scrape(server):
    text = httpx.get(f"{server.url}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for sample in samples
        if sample.name.startswith("stocktake_")
    }


def test_a_server_shows_what_its_photos_went_through(server, photos, model_dirs):
    def find(samples, name, model="shelf-detector"):
        return sum(
            number
            for (sample, labels), number in samples.items()
            if sample == f"stocktake_{name}" and dict(labels).get("model") == model
        )

    before = scrape(server)
    ask(server, [photos["shelf"], photos["blank"]], "grpc-raw")
    ask(server, [photos["shelf"]], "rest-binary")
    after = scrape(server)

    counts = ("decode_seconds", "infer_seconds", "interpret_seconds", "batch_photos", "photo_wait_seconds")
    for name in counts:
        assert find(after, f"{name}_count") - find(before, f"{name}_count") == 3, name
    assert find(after, "batch_photos_sum") - find(before, "batch_photos_sum") == 3
    assert find(after, "photos_waiting") == find(after, "photos_working") == 0
    info = [dict(labels) for (name, labels) in after if name == "stocktake_model_info"]
    assert {entry["model"] for entry in info} == {"shelf-detector", "slow", "bin-counter"}
    digests = {entry["model"]: entry["digest"] for entry in info}
    assert digests == {name: verify_sums(folder) for name, folder in model_dirs.items()}
    made = ModelCard.read(model_dirs["shelf-detector"]).created
    assert find(after, "model_trained_timestamp_seconds") == made.timestamp()

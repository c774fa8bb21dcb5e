import subprocess
import sys
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from serving.predictors import tracing
from serving.predictors.errors import ClientError
from stocktake.errors import SettingsError
from tests.serving.conftest import NAME
from tests.serving.loaded import loaded_detector, predict, request_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture
def environment(monkeypatch):
    """Sets variables; none of OpenTelemetry's is set but these."""
    import os

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    yield lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]
    tracing.stop_tracing()


@pytest.fixture
def spans(environment):
    exporter = InMemorySpanExporter()
    tracing.start_tracing(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


@pytest.fixture(scope="module")
def model(model_dirs):
    with loaded_detector(model_dirs[NAME]) as model:
        yield model


def test_a_span_for_the_request_and_for_each_stage_of_each_photo(model, photos, spans):
    predict(model, request_of(photos["shelf"], photos["blank"]), HEADERS)

    *stages, request = spans()
    assert (request.name, request.kind, request.attributes["stocktake.model"]) == (
        "predict",
        SpanKind.SERVER,
        NAME,
    )
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == SPAN
    assert sorted(span.name for span in stages) == sorted(["decode", "infer", "interpret"] * 2)
    for span in stages:
        assert span.parent.span_id == request.context.span_id
        assert span.context.trace_id == request.context.trace_id
        assert request.start_time <= span.end_time
        assert span.start_time <= span.end_time <= request.end_time


@pytest.mark.parametrize("headers", [None, {}, {"traceparent": "kumquat"}])
def test_without_a_parent_a_trace_of_its_own(model, photos, spans, headers):
    predict(model, request_of(photos["blank"]), headers)

    *_, request = spans()
    assert request.parent is None
    assert f"{request.context.trace_id:032x}" != TRACE


def test_a_mistake_of_the_client_is_named_and_is_no_failure(model, spans):
    with pytest.raises(ClientError):
        predict(model, request_of(b"kumquat"))

    *_, request = spans()
    assert request.attributes["error.type"] == "UnsupportedImage"
    assert request.status.status_code == StatusCode.UNSET
    assert "kumquat" not in request.to_json()


def test_a_fault_of_ours_is_a_failure(model, photos, spans, monkeypatch):
    monkeypatch.setattr(model.loaded, "infer", lambda batch: [])
    with pytest.raises(Exception, match="photo 0 failed"):
        predict(model, request_of(photos["blank"]))

    *_, request = spans()
    assert request.status.status_code == StatusCode.ERROR


def test_nothing_is_traced_after_the_end(model, photos, spans):
    tracing.stop_tracing()
    predict(model, request_of(photos["blank"]), HEADERS)
    assert tracing.current() is None
    assert spans() == ()


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "x"},
    ],
)
def test_off_unless_the_environment_asks(environment, variables):
    environment(**variables)
    assert tracing.configure_tracing() is False
    assert tracing.current() is None


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin: give otlp, console or none"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "PROTOCOL=http/json: traces are sent"),
    ],
)
def test_what_there_is_not(environment, variables, message):
    environment(**variables)
    with pytest.raises(SettingsError, match=message):
        tracing.configure_tracing()


class Collector(services.TraceServiceServicer):
    """What traces are sent to."""

    def __init__(self):
        self.resources = []

    def Export(self, request, context):  # noqa: N802 - the protocol's name
        self.resources += request.resource_spans
        return messages.ExportTraceServiceResponse()


@pytest.mark.parametrize(
    ("names", "service"),
    [
        ({}, "stocktake-predictor"),
        ({"OTEL_SERVICE_NAME": "shelves"}, "shelves"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=night"}, "night"),
    ],
)
def test_traces_are_sent_to_the_endpoint(environment, model, photos, names, service):
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    services.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        environment(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", **names)
        assert tracing.configure_tracing() is True
        predict(model, request_of(photos["blank"]), HEADERS)
        tracing.stop_tracing()  # sends what there is
    finally:
        server.stop(None)

    (sent,) = collector.resources
    attributes = {pair.key: pair.value.string_value for pair in sent.resource.attributes}
    assert attributes["service.name"] == service
    spans = [span for scope in sent.scope_spans for span in scope.spans]
    assert {span.name for span in spans} == {"predict", "decode", "infer", "interpret"}
    assert {span.trace_id.hex() for span in spans} == {TRACE}


def test_a_predictor_without_traces_does_not_import_the_sdk():
    program = (
        "import sys, serving.predictors.shelf_detector, serving.predictors.tracing as t\n"
        "t.configure_tracing()\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry.sdk')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[]\n", done.stderr

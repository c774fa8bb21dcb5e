"""OpenTelemetry traces: a span for each request, and in it one for each stage of each photo.

Off unless the environment asks for them with OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT (or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT), or OTEL_TRACES_EXPORTER=otlp or console. OTEL_SDK_DISABLED=true and
OTEL_TRACES_EXPORTER=none turn them off again. The SDK is imported only where they are on, and reads the rest
itself: the service's name, the sampler, headers, and so on.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from serving.predictors.errors import OUR_FAULT, ClientError, answer_to
from stocktake.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def configure_tracing() -> bool:
    """Send traces where the environment says. Returns whether it says so.

    Raises:
        SettingsError: it asks for an exporter or a protocol that there is not.
    """
    exporter = _exporter_wished()
    if exporter == "none":
        return False
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if exporter == "console":
        start_tracing(BatchSpanProcessor(ConsoleSpanExporter()))
        return True
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    start_tracing(BatchSpanProcessor(OTLPSpanExporter()))
    return True


def start_tracing(processor: "SpanProcessor") -> None:
    """Give spans to a processor."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    global _provider, _tracer
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # the environment names none
        resource = resource.merge(Resource({SERVICE_NAME: "stocktake-predictor"}))
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("stocktake")


def stop_tracing() -> None:
    """Send what there is, and make no more spans; the end of the process does the same."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


@contextmanager
def request_span(model_name: str, headers: Mapping[str, str] | None) -> Iterator[None]:
    """The span of a request, part of the trace that the client's `traceparent` names, if it does.

    Args:
        model_name: a loaded one.
        headers: of the HTTP request, or the metadata of the gRPC call; names in lower case.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry import propagate, trace

    with _tracer.start_as_current_span(
        "predict",
        context=propagate.extract(headers or {}),
        kind=trace.SpanKind.SERVER,
        attributes={"stocktake.model": model_name},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            cause = error.cause if isinstance(error, ClientError) else error
            span.set_attribute("error.type", type(cause).__name__)
            if answer_to(cause) == OUR_FAULT:  # what clients get wrong is no failure of ours
                span.set_status(trace.StatusCode.ERROR)
            raise


def current() -> "Context | None":
    """What spans made elsewhere belong to, for `record`; None while tracing is off."""
    if _tracer is None:
        return None
    from opentelemetry import context

    return context.get_current()


def record(stage: str, parent: "Context | None", seconds: float, photos: int) -> None:
    """A span of a stage that has just ended, on behalf of one photo of the `photos` that it was done for."""
    if _tracer is None or parent is None:
        return
    end = time.time_ns()
    span = _tracer.start_span(
        stage, parent, start_time=end - int(seconds * 1e9), attributes={"stocktake.batch": photos}
    )
    span.end(end)


def _exporter_wished() -> str:
    """otlp, console or none."""
    environment = os.environ
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    default = "otlp" if any(environment.get(name) for name in ENDPOINTS) else "none"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or default
    if exporter not in ("otlp", "console", "none"):
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter}: give otlp, console or none")
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), "grpc")
    if exporter == "otlp" and protocol != "grpc":
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: traces are sent over grpc only")
    return exporter

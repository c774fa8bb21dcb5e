"""What Prometheus can scrape from /metrics beside KServe's own: requests, photos, stages, models, GPU memory.

Labels are few and never come from a client: a model's name, a protocol (rest-v1, rest-v2, grpc), a code.
`stocktake_photos_waiting + stocktake_photos_working` is the load of a replica, what an autoscaler should hold
near the number of photos that it works on at once.
"""

import functools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Info

from serving.predictors.errors import ClientError, answer_to
from serving.predictors.photos import Stage

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BUCKETS_PHOTOS = (1, 2, 4, 8, 16, 32, 64)

REQUESTS = Counter(
    "stocktake_requests", "Requests answered; code as REST or gRPC says it", ["model", "protocol", "code"]
)
REQUEST_SECONDS = Histogram(
    "stocktake_request_seconds", "From request to a good answer", ["model", "protocol"], buckets=BUCKETS_S
)
REQUESTS_IN_FLIGHT = Gauge("stocktake_requests_in_flight", "Requests without an answer yet", ["model"])
PHOTOS_WAITING = Gauge("stocktake_photos_waiting", "Photos accepted and not begun", ["model"])
PHOTOS_WORKING = Gauge("stocktake_photos_working", "Photos begun and not answered", ["model"])
PHOTO_WAIT_SECONDS = Histogram(
    "stocktake_photo_wait_seconds",
    "What a photo spent in queues before and between its stages",
    ["model"],
    buckets=BUCKETS_S,
)
BATCH_PHOTOS = Histogram(
    "stocktake_batch_photos", "Photos in one run of the model", ["model"], buckets=BUCKETS_PHOTOS
)
STAGE_SECONDS: dict[Stage, Histogram] = {
    "decode": Histogram("stocktake_decode_seconds", "Unpacking a photo", ["model"], buckets=BUCKETS_S),
    "infer": Histogram("stocktake_infer_seconds", "One run of the model", ["model"], buckets=BUCKETS_S),
    "interpret": Histogram(
        "stocktake_interpret_seconds", "From the model's answer to a report", ["model"], buckets=BUCKETS_S
    ),
}
MODEL = Info("stocktake_model", "The models that are loaded, and what runs them", ["model"])
CLOSED_LANES = Counter(
    "stocktake_closed_lanes", "Times that a model was left to look at one photo at a time", ["model"]
)
MODEL_TRAINED = Gauge(
    "stocktake_model_trained_timestamp_seconds",
    "When the model was made, in seconds since 1970: later than the photos that it was trained on",
    ["model"],
)
GPU_USED = Gauge("stocktake_gpu_memory_used_bytes", "GPU memory in use, by whatever process", ["gpu"])
GPU_TOTAL = Gauge("stocktake_gpu_memory_bytes", "GPU memory that there is", ["gpu"])

RUNNER_LABELS = ("engine", "device", "precision")

_loaded: set[str] = set()


@dataclass(slots=True)
class Seen:
    """How a request is answered: `code` is HTTP's number or gRPC's name; None for what its outcome says."""

    code: str | None = None


@contextmanager
def observe_request(model_name: str, protocol: str) -> Iterator[Seen]:
    """Count a request, its time and its code, and that it is in flight meanwhile.

    Where the block sets no code, it is that of what it raises in the table of errors, or that of success.

    Args:
        model_name: as the client says it; one that is not loaded is counted as "".
        protocol: rest-v1, rest-v2 or grpc.
    """
    model = model_name if model_name in _loaded else ""
    seen, began = Seen(), time.perf_counter()
    in_flight = REQUESTS_IN_FLIGHT.labels(model)
    in_flight.inc()
    try:
        yield seen
    except BaseException as raised:
        seen.code = seen.code or _code_of(raised, protocol)
        raise
    finally:
        in_flight.dec()
        good = "OK" if protocol == "grpc" else "200"
        if seen.code in (None, good):  # to refuse takes no time, and would make an overrun server look fast
            REQUEST_SECONDS.labels(model, protocol).observe(time.perf_counter() - began)
        REQUESTS.labels(model, protocol, seen.code or good).inc()


def rest_protocol(path: str) -> str:
    """The label of a REST request's protocol, by its path."""
    return "rest-v1" if path.startswith("/v1/") else "rest-v2"


def count_refusal(error: Exception, protocol: str) -> None:
    """A request was answered with an error before anybody looked which model it is for: that of model ""."""
    REQUESTS.labels("", protocol, _code_of(error, protocol)).inc()


def count_photos(model_name: str, waiting: int = 0, working: int = 0) -> None:
    """So many photos more (or fewer) wait, and are worked on."""
    if waiting:
        PHOTOS_WAITING.labels(model_name).inc(waiting)
    if working:
        PHOTOS_WORKING.labels(model_name).inc(working)


def count_stage(model_name: str, stage: Stage, photos: int, seconds: float) -> None:
    """One stage of a photo was done, or of a batch."""
    STAGE_SECONDS[stage].labels(model_name).observe(seconds)
    if stage == "infer":
        BATCH_PHOTOS.labels(model_name).observe(photos)


def count_closed_lanes(model_name: str) -> None:
    """A model could not be prepared for several photos side by side."""
    CLOSED_LANES.labels(model_name).inc()


def model_loaded(name: str, *, digest: str, engine: str, device: str, precision: str) -> None:
    """Say what a model is; from now on it has a label of its own. Replaces what was said under its name."""
    _loaded.add(name)
    MODEL.labels(name).info({"digest": digest, "engine": engine, "device": device, "precision": precision})
    for gauge in (REQUESTS_IN_FLIGHT, PHOTOS_WAITING, PHOTOS_WORKING):
        gauge.labels(name)  # 0 from the start: an autoscaler can't tell nothing from no answer
    CLOSED_LANES.labels(name)
    if device == "gpu":
        watch_gpu_memory()


def model_trained(name: str, at: datetime) -> None:
    """Say when a model was made, so that one that has grown old is seen."""
    MODEL_TRAINED.labels(name).set(at.timestamp())


def model_unloaded(name: str) -> None:
    """Forget a model; what was counted under its name stays."""
    _loaded.discard(name)
    MODEL.remove(name)
    MODEL_TRAINED.remove(name)


@functools.cache
def watch_gpu_memory() -> int:
    """Show the memory of all GPUs, measured when it is scraped.

    Returns:
        How many there are: 0 without pynvml or a driver.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        totals = [pynvml.nvmlDeviceGetMemoryInfo(handle).total for handle in handles]
    except Exception:  # its errors share no base with a missing import, and none of them may stop a server
        return 0

    def used(handle: Any) -> float:
        try:
            return float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        except pynvml.NVMLError:  # a scrape would fail as a whole
            return math.nan

    for number, (handle, total) in enumerate(zip(handles, totals, strict=True)):
        GPU_TOTAL.labels(str(number)).set(total)
        GPU_USED.labels(str(number)).set_function(functools.partial(used, handle))
    return len(handles)


def _code_of(error: BaseException, protocol: str) -> str:
    over_grpc = protocol == "grpc"
    if not isinstance(error, Exception):  # cancelled: the client is gone
        return "CANCELLED" if over_grpc else "499"
    answer = answer_to(error.cause if isinstance(error, ClientError) else error)
    return str(answer.grpc.name if over_grpc else answer.http.value)

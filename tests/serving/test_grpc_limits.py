"""What ends a gRPC call before its answer: no place, its deadline, its size, its client."""

import json
import queue
import threading

import grpc
from grpc import StatusCode
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client import REGISTRY

from serving.predictors import grpc_errors
from serving.predictors.admission import LEAST_REQUESTS
from serving.predictors.grpc_health import INFERENCE_SERVICE
from serving.predictors.requests import Limits
from tests.serving.light_server import NAME, LightServer, wait_until
from tests.serving.wire import element, grpc_request, refused

REQUEST = grpc_request(NAME)


def test_no_place(light, light_stub):
    light.model.admission.limit = 0
    labels = {"model": "", "protocol": "grpc", "code": "RESOURCE_EXHAUSTED"}  # which model was not read
    before = REGISTRY.get_sample_value("stocktake_requests_total", labels) or 0

    with refused(StatusCode.RESOURCE_EXHAUSTED, "too many requests wait; come back in 7 s") as caught:
        light_stub.ModelInfer(REQUEST)

    assert REGISTRY.get_sample_value("stocktake_requests_total", labels) == before + 1
    assert ("grpc-retry-pushback-ms", "7000") in [tuple(pair) for pair in caught.value.trailing_metadata()]


def test_no_place_is_told_before_the_message_comes(light, light_channel):
    infer = light_channel.stream_unary(
        f"/{INFERENCE_SERVICE}/ModelInfer",
        messages.ModelInferRequest.SerializeToString,
        messages.ModelInferResponse.FromString,
    )
    told = threading.Event()

    def message():
        told.wait(60)
        yield REQUEST

    light.model.admission.limit = 0
    with refused(StatusCode.RESOURCE_EXHAUSTED, "come back in 7 s"):
        infer(message())
    assert not told.is_set()
    told.set()

    light.model.admission.limit = 1
    assert infer(message()).model_name == NAME
    with refused(StatusCode.INVALID_ARGUMENT, "there is no message"):
        infer(iter(()))


def infer_as_stream(channel):
    return channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")


def test_a_message_that_never_comes_is_not_waited_for(silent):
    light = LightServer(Limits(body_bytes=1 << 20, seconds=0.5))
    try:
        with grpc.insecure_channel(light.grpc) as channel, refused(StatusCode.DEADLINE_EXCEEDED):
            infer_as_stream(channel)(silent(), timeout=60)
    finally:
        light.close()


def test_a_message_that_never_comes_is_not_waited_for_as_long_as_an_answer(silent, monkeypatch):
    monkeypatch.setattr(grpc_errors, "MESSAGE_S", 0.5)
    light = LightServer(Limits(seconds=3000))
    try:
        with grpc.insecure_channel(light.grpc) as channel, refused(StatusCode.DEADLINE_EXCEEDED):
            infer_as_stream(channel)(silent(), timeout=3000)
    finally:
        light.close()


def test_only_so_many_messages_are_read_at_a_time(light_channel, silent):
    calls = [infer_as_stream(light_channel).future(silent()) for _ in range(LEAST_REQUESTS + 1)]
    ended = queue.SimpleQueue()
    for call in calls:
        call.add_done_callback(ended.put)
    assert ended.get(timeout=60).code() == StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        call.cancel()


def test_a_client_that_retries_by_itself_waits_as_long_as_it_is_told(light):
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    light.model.admission.limit = 0
    options = [("grpc.service_config", json.dumps(config))]
    with grpc.insecure_channel(light.grpc, options=options) as channel:
        with refused(StatusCode.DEADLINE_EXCEEDED):  # and not the refusal of its second attempt
            GRPCInferenceServiceStub(channel).ModelInfer(REQUEST, timeout=1)


def test_the_deadline_of_a_client_ends_the_work(light, light_stub):
    light.model.held = True

    with refused(StatusCode.DEADLINE_EXCEEDED):
        light_stub.ModelInfer(REQUEST, timeout=0.5)

    wait_until(lambda: light.model.cancelled == 1 and not light.model.admission.taken)


def test_the_deadline_of_a_parameter(light, light_stub):
    light.model.held = True
    request = grpc_request(NAME)
    request.parameters["timeout"].int64_param = 200_000

    with refused(StatusCode.DEADLINE_EXCEEDED, "was not answered in the time that it has"):
        light_stub.ModelInfer(request)

    wait_until(lambda: light.model.cancelled == 1 and not light.model.admission.taken)


def test_a_call_that_is_cancelled_frees_its_place(light, light_stub):
    light.model.held = True
    call = light_stub.ModelInfer.future(REQUEST)
    wait_until(lambda: light.model.inside == 1)

    call.cancel()

    wait_until(lambda: light.model.cancelled == 1 and not light.model.admission.taken)


def test_messages_beyond_the_limit(light, light_stub):
    large = grpc_request(NAME, raw=[element(bytes(200_000))])

    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with refused(StatusCode.RESOURCE_EXHAUSTED):
            light_stub.ModelInfer(large, compression=compression)

    assert not light.model.inside
    assert light_stub.ModelInfer(REQUEST).model_name == NAME

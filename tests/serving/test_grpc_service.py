"""gRPC beside refusals: both forms of contents, deadlines, cancellation, health, reflection, compression."""

import asyncio
import contextlib
import json
import queue
import threading

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from kserve import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client import REGISTRY

from serving.predictors.admission import LEAST_REQUESTS
from serving.predictors.grpc_health import INFERENCE_SERVICE
from serving.predictors.grpc_server import PredictorGrpcServer
from serving.predictors.requests import Limits
from tests.serving.light_server import NAME, VERSION, LightServer, wait_until
from tests.serving.wire import MARK, element, grpc_request

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
REQUEST = grpc_request(NAME)


@pytest.fixture
def channel(light):
    with grpc.insecure_channel(light.grpc) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return GRPCInferenceServiceStub(channel)


@contextlib.contextmanager
def refused(code, message=""):
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    assert caught.value.code() == code
    assert message in caught.value.details()
    assert MARK not in caught.value.details()


def test_raw_contents_are_answered_with_raw_contents(stub):
    request = grpc_request(NAME, raw=[element(b"kumquat") + element(b"")], shape=[2])
    request.id = "42"

    response = stub.ModelInfer(request)

    assert (response.model_name, response.model_version, response.id) == (NAME, VERSION, "42")
    said = [(output.name, output.datatype, list(output.shape)) for output in response.outputs]
    assert said == [("size", "INT32", [2]), ("half", "FP32", [2, 1]), ("echo", "BYTES", [2])]
    sizes, halves, echo = response.raw_output_contents
    assert np.frombuffer(sizes, "<i4").tolist() == [7, 0]
    assert np.frombuffer(halves, "<f4").tolist() == [3.5, 0]
    assert echo == element(b"kumquat") + element(b"")
    assert not any(output.HasField("contents") for output in response.outputs)


def test_typed_contents_are_answered_with_typed_contents(stub):
    request = grpc_request(NAME, raw=(), contents={"bytes_contents": [b"kumquat", b""]}, shape=[2])

    sizes, halves, echo = stub.ModelInfer(request).outputs

    assert list(sizes.contents.int_contents) == [7, 0]
    assert list(halves.contents.fp32_contents) == [3.5, 0]
    assert list(echo.contents.bytes_contents) == [b"kumquat", b""]


def test_exactly_the_outputs_that_are_asked_for(stub):
    response = stub.ModelInfer(grpc_request(NAME, outputs=["echo", "size"]))

    assert [output.name for output in response.outputs] == ["echo", "size"]
    assert response.raw_output_contents[1] == b"\7\0\0\0"


def test_parameters_that_mean_nothing_to_us_are_left_aside(stub):
    request = grpc_request(NAME)
    request.parameters["priority"].int64_param = 3
    request.parameters["sequence_id"].string_param = MARK
    request.parameters["empty"].SetInParent()
    request.inputs[0].parameters["colour"].bool_param = True

    assert stub.ModelInfer(request).model_name == NAME


@pytest.mark.parametrize("version", ["", VERSION])
def test_versions(stub, version):
    assert stub.ModelReady(messages.ModelReadyRequest(name=NAME, version=version)).ready
    metadata = stub.ModelMetadata(messages.ModelMetadataRequest(name=NAME, version=version))
    assert (metadata.name, list(metadata.versions), metadata.platform) == (NAME, [VERSION], "onnx_onnxv1")
    assert [(tensor.name, list(tensor.shape)) for tensor in metadata.outputs] == [
        ("size", [-1]),
        ("half", [-1, 1]),
        ("echo", [-1]),
    ]
    request = grpc_request(NAME)
    request.model_version = version
    assert stub.ModelInfer(request).model_version == VERSION


def test_what_the_server_says_of_itself(stub):
    assert stub.ServerLive(messages.ServerLiveRequest()).live
    assert list(stub.ServerMetadata(messages.ServerMetadataRequest()).extensions) == ["binary_tensor_data"]


def test_no_place(light, stub):
    light.model.admission.limit = 0
    labels = {"model": "", "protocol": "grpc", "code": "RESOURCE_EXHAUSTED"}  # which model was not read
    before = REGISTRY.get_sample_value("stocktake_requests_total", labels) or 0

    with refused(StatusCode.RESOURCE_EXHAUSTED, "too many requests wait; come back in 7 s") as caught:
        stub.ModelInfer(REQUEST)

    assert REGISTRY.get_sample_value("stocktake_requests_total", labels) == before + 1
    assert ("grpc-retry-pushback-ms", "7000") in [tuple(pair) for pair in caught.value.trailing_metadata()]


def test_no_place_is_told_before_the_message_comes(light, channel):
    infer = channel.stream_unary(
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


def test_only_so_many_messages_are_read_at_a_time(channel, silent):
    calls = [infer_as_stream(channel).future(silent()) for _ in range(LEAST_REQUESTS + 1)]
    ended = queue.SimpleQueue()
    for call in calls:
        call.add_done_callback(ended.put)
    assert ended.get(timeout=60).code() == StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        call.cancel()


def test_who_watches_the_health_is_told_of_the_end():
    light = LightServer(grace=60)
    with grpc.insecure_channel(light.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest())
        assert next(watch).status == SERVING
        light.draining.set()
        light.close()
        assert [said.status for said in watch] == [NOT_SERVING]


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


def test_a_model_that_is_not_ready(light, stub):
    light.model.ready = False

    with refused(StatusCode.UNAVAILABLE, "Model with name light is not ready"):
        stub.ModelInfer(REQUEST)
    assert not stub.ModelReady(messages.ModelReadyRequest(name=NAME)).ready
    assert not stub.ServerReady(messages.ServerReadyRequest()).ready


def test_a_server_that_is_about_to_end_answers_what_still_comes(light, stub):
    light.draining.set()

    assert not stub.ServerReady(messages.ServerReadyRequest()).ready
    assert stub.ModelInfer(REQUEST).model_name == NAME


def test_faults_of_ours_are_not_told(stub):
    with refused(StatusCode.INTERNAL, "the server failed on this request; its log says why"):
        stub.ModelInfer(grpc_request(NAME, raw=[element(b"fail")]))


def test_the_deadline_of_a_client_ends_the_work(light, stub):
    light.model.held = True

    with refused(StatusCode.DEADLINE_EXCEEDED):
        stub.ModelInfer(REQUEST, timeout=0.5)

    wait_until(lambda: light.model.cancelled == 1 and not light.model.admission.taken)


def test_the_deadline_of_a_parameter(light, stub):
    light.model.held = True
    request = grpc_request(NAME)
    request.parameters["timeout"].int64_param = 200_000

    with refused(StatusCode.DEADLINE_EXCEEDED, "was not answered in the time that it has"):
        stub.ModelInfer(request)

    wait_until(lambda: light.model.cancelled == 1 and not light.model.admission.taken)


def test_a_call_that_is_cancelled_frees_its_place(light, stub):
    light.model.held = True
    call = stub.ModelInfer.future(REQUEST)
    wait_until(lambda: light.model.inside == 1)

    call.cancel()

    wait_until(lambda: light.model.cancelled == 1 and not light.model.admission.taken)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(stub, compression):
    request = grpc_request(NAME, raw=[element(bytes(100_000))])

    assert stub.ModelInfer(request, compression=compression).raw_output_contents[0] == b"\xa0\x86\1\0"


def test_messages_beyond_the_limit(light, stub):
    large = grpc_request(NAME, raw=[element(bytes(200_000))])

    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with refused(StatusCode.RESOURCE_EXHAUSTED):
            stub.ModelInfer(large, compression=compression)

    assert not light.model.inside
    assert stub.ModelInfer(REQUEST).model_name == NAME


@pytest.mark.parametrize("service", ["", INFERENCE_SERVICE, NAME])
def test_health_follows_readiness(light, channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    request = HealthCheckRequest(service=service)
    watch = stub.Watch(request)
    assert stub.Check(request).status == next(watch).status == SERVING

    light.model.ready = False
    assert stub.Check(request).status == next(watch).status == NOT_SERVING

    light.model.ready = True
    assert stub.Check(request).status == next(watch).status == SERVING
    light.draining.set()
    assert stub.Check(request).status == NOT_SERVING
    watch.cancel()


def test_the_health_of_what_there_is_not(channel):
    stub = health_pb2_grpc.HealthStub(channel)

    with refused(StatusCode.NOT_FOUND, "there is no such service"):
        stub.Check(HealthCheckRequest(service=MARK))
    watch = stub.Watch(HealthCheckRequest(service=MARK))
    assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_tells_what_can_be_called(channel):
    database = ProtoReflectionDescriptorDatabase(channel)

    assert {INFERENCE_SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName(INFERENCE_SERVICE)
    assert "ModelInfer" in service.methods_by_name


def test_a_port_that_is_taken_is_an_error(light):
    second = PredictorGrpcServer(light.grpc_port, DataPlane(ModelRepository()), None, Limits())

    with pytest.raises(RuntimeError, match="bind"):
        asyncio.run(second.start())

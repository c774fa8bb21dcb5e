"""gRPC beside refusals: both forms of contents, versions, health, reflection, compression."""

import asyncio

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

from serving.predictors.grpc_health import INFERENCE_SERVICE
from serving.predictors.grpc_server import PredictorGrpcServer
from serving.predictors.requests import Limits
from tests.serving.light_server import NAME, VERSION, LightServer
from tests.serving.wire import MARK, element, grpc_request, refused

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
REQUEST = grpc_request(NAME)


def test_raw_contents_are_answered_with_raw_contents(light_stub):
    request = grpc_request(NAME, raw=[element(b"kumquat") + element(b"")], shape=[2])
    request.id = "42"

    response = light_stub.ModelInfer(request)

    assert (response.model_name, response.model_version, response.id) == (NAME, VERSION, "42")
    said = [(output.name, output.datatype, list(output.shape)) for output in response.outputs]
    assert said == [("size", "INT32", [2]), ("half", "FP32", [2, 1]), ("echo", "BYTES", [2])]
    sizes, halves, echo = response.raw_output_contents
    assert np.frombuffer(sizes, "<i4").tolist() == [7, 0]
    assert np.frombuffer(halves, "<f4").tolist() == [3.5, 0]
    assert echo == element(b"kumquat") + element(b"")
    assert not any(output.HasField("contents") for output in response.outputs)


def test_typed_contents_are_answered_with_typed_contents(light_stub):
    request = grpc_request(NAME, raw=(), contents={"bytes_contents": [b"kumquat", b""]}, shape=[2])

    sizes, halves, echo = light_stub.ModelInfer(request).outputs

    assert list(sizes.contents.int_contents) == [7, 0]
    assert list(halves.contents.fp32_contents) == [3.5, 0]
    assert list(echo.contents.bytes_contents) == [b"kumquat", b""]


def test_exactly_the_outputs_that_are_asked_for(light_stub):
    response = light_stub.ModelInfer(grpc_request(NAME, outputs=["echo", "size"]))

    assert [output.name for output in response.outputs] == ["echo", "size"]
    assert response.raw_output_contents[1] == b"\7\0\0\0"


def test_parameters_that_mean_nothing_to_us_are_left_aside(light_stub):
    request = grpc_request(NAME)
    request.parameters["priority"].int64_param = 3
    request.parameters["sequence_id"].string_param = MARK
    request.parameters["empty"].SetInParent()
    request.inputs[0].parameters["colour"].bool_param = True

    assert light_stub.ModelInfer(request).model_name == NAME


@pytest.mark.parametrize("version", ["", VERSION])
def test_versions(light_stub, version):
    assert light_stub.ModelReady(messages.ModelReadyRequest(name=NAME, version=version)).ready
    metadata = light_stub.ModelMetadata(messages.ModelMetadataRequest(name=NAME, version=version))
    assert (metadata.name, list(metadata.versions), metadata.platform) == (NAME, [VERSION], "onnx_onnxv1")
    assert [(tensor.name, list(tensor.shape)) for tensor in metadata.outputs] == [
        ("size", [-1]),
        ("half", [-1, 1]),
        ("echo", [-1]),
    ]
    request = grpc_request(NAME)
    request.model_version = version
    assert light_stub.ModelInfer(request).model_version == VERSION


def test_what_the_server_says_of_itself(light_stub):
    assert light_stub.ServerLive(messages.ServerLiveRequest()).live
    assert list(light_stub.ServerMetadata(messages.ServerMetadataRequest()).extensions) == [
        "binary_tensor_data"
    ]


def test_who_watches_the_health_is_told_of_the_end():
    light = LightServer(grace=60)
    with grpc.insecure_channel(light.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest())
        assert next(watch).status == SERVING
        light.draining.set()
        light.close()
        assert [said.status for said in watch] == [NOT_SERVING]


def test_a_model_that_is_not_ready(light, light_stub):
    light.model.ready = False

    with refused(StatusCode.UNAVAILABLE, "Model with name light is not ready"):
        light_stub.ModelInfer(REQUEST)
    assert not light_stub.ModelReady(messages.ModelReadyRequest(name=NAME)).ready
    assert not light_stub.ServerReady(messages.ServerReadyRequest()).ready


def test_a_server_that_is_about_to_end_answers_what_still_comes(light, light_stub):
    light.draining.set()

    assert not light_stub.ServerReady(messages.ServerReadyRequest()).ready
    assert light_stub.ModelInfer(REQUEST).model_name == NAME


def test_faults_of_ours_are_not_told(light_stub):
    with refused(StatusCode.INTERNAL, "the server failed on this request; its log says why"):
        light_stub.ModelInfer(grpc_request(NAME, raw=[element(b"fail")]))


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(light_stub, compression):
    request = grpc_request(NAME, raw=[element(bytes(100_000))])

    assert light_stub.ModelInfer(request, compression=compression).raw_output_contents[0] == b"\xa0\x86\1\0"


@pytest.mark.parametrize("service", ["", INFERENCE_SERVICE, NAME])
def test_health_follows_readiness(light, light_channel, service):
    stub = health_pb2_grpc.HealthStub(light_channel)
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


def test_the_health_of_what_there_is_not(light_channel):
    stub = health_pb2_grpc.HealthStub(light_channel)

    with refused(StatusCode.NOT_FOUND, "there is no such service"):
        stub.Check(HealthCheckRequest(service=MARK))
    watch = stub.Watch(HealthCheckRequest(service=MARK))
    assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_tells_what_can_be_called(light_channel):
    database = ProtoReflectionDescriptorDatabase(light_channel)

    assert {INFERENCE_SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName(INFERENCE_SERVICE)
    assert "ModelInfer" in service.methods_by_name


def test_a_port_that_is_taken_is_an_error(light):
    second = PredictorGrpcServer(light.grpc_port, DataPlane(ModelRepository()), None, Limits())

    with pytest.raises(RuntimeError, match="bind"):
        asyncio.run(second.start())

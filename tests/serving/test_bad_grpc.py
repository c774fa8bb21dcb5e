"""What a client may get wrong over gRPC, and the status that says so."""

import grpc
import pytest
from grpc import StatusCode
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.serving.clients import ask
from tests.serving.wire import MARK, element, grpc_request

SHAPE = "input 'image': its data does not fit its shape"
TYPED = {"bytes_contents": [b"kumquat"]}
ONE = element(b"kumquat")
Parameter = messages.InferParameter


def with_parameter(name, value, of_output=False):
    request = grpc_request(outputs=["scores"])
    (request.outputs[0] if of_output else request).parameters[name].CopyFrom(value)
    return request


def two_inputs(*raw):
    request = grpc_request(raw=raw)
    request.inputs.append(request.inputs[0])
    return request


CASES = {
    "not a photo": (grpc_request(), "photo 0: 7 bytes that are not"),
    "not a photo, typed": (grpc_request(raw=(), contents=TYPED), "photo 0: 7 bytes that are not"),
    "an empty photo": (grpc_request(raw=(element(b""),)), "photo 0: 0 bytes that are not"),
    "no input": (messages.ModelInferRequest(model_name="shelf-detector"), "found 0 inputs"),
    "two inputs": (two_inputs(ONE, ONE), "found 2 inputs"),
    "another name": (grpc_request(name="picture"), "called 'image'"),
    "no name": (grpc_request(name=""), "called 'image'"),
    "another datatype": (grpc_request(datatype="FP32"), "datatype must be BYTES"),
    "another datatype, typed": (
        grpc_request(raw=(), contents={"fp32_contents": [1.0]}, datatype="FP32"),
        "datatype must be BYTES",
    ),
    "a datatype without typed contents": (
        grpc_request(raw=(), contents=TYPED, datatype="FP16"),
        "inputs.0.contents: are not those of the datatype FP16",
    ),
    "a datatype in small letters": (grpc_request(datatype="bytes"), "inputs.0.datatype: is none of BOOL"),
    "unknown datatype": (grpc_request(datatype="KUMQUAT"), "inputs.0.datatype: is none of BOOL"),
    "no datatype": (grpc_request(datatype=""), "inputs.0.datatype: is none of BOOL"),
    "contents of another datatype": (
        grpc_request(raw=(), contents={"int_contents": [1]}),
        "inputs.0.contents: are not those of the datatype BYTES",
    ),
    "contents of two datatypes": (
        grpc_request(raw=(), contents={**TYPED, "int_contents": [1]}),
        "inputs.0.contents: are not those of the datatype BYTES",
    ),
    "raw and typed contents": (
        grpc_request(contents=TYPED),
        "inputs.0.contents: there are raw_input_contents, too",
    ),
    "more contents than inputs": (grpc_request(raw=(ONE, ONE)), "raw_input_contents: found 2 for 1 inputs"),
    "less contents than inputs": (two_inputs(ONE), "raw_input_contents: found 1 for 2 inputs"),
    "no contents": (grpc_request(raw=()), SHAPE),
    "thousands of outputs": (grpc_request(outputs=[""] * 10_001), "has too many parts"),
    "thousands of numbers": (
        grpc_request(raw=(), contents={"int64_contents": [1] * 10_001}, datatype="INT64"),
        "has too many parts",
    ),
    "no dimension": (grpc_request(shape=[]), "shape [N]"),
    "two dimensions": (grpc_request(shape=[1, 1]), "shape [N]"),
    "negative size": (grpc_request(shape=[-1]), "shape [N]"),
    "absurd size": (grpc_request(shape=[2**62]), "found 4611686018427387904 photos"),
    "less data than the shape": (grpc_request(shape=[2]), SHAPE),
    "less data than the shape, typed": (grpc_request(raw=(), contents=TYPED, shape=[2]), SHAPE),
    "more data than the shape": (grpc_request(raw=(ONE * 2,)), SHAPE),
    "more data than the shape, typed": (
        grpc_request(raw=(), contents={"bytes_contents": [b"k", b"k"]}),
        SHAPE,
    ),
    "element is cut": (grpc_request(raw=(ONE[:-1],)), SHAPE),
    "element is long": (grpc_request(raw=(ONE + b"k",)), SHAPE),
    "length is cut": (grpc_request(raw=(b"\x07",)), SHAPE),
    "length is huge": (grpc_request(raw=(b"\xff\xff\xff\xffkumquat",)), SHAPE),
    "no photo": (grpc_request(raw=(b"",), shape=[0]), "found 0 photos"),
    "no photo, typed": (grpc_request(raw=(), contents={}, shape=[0]), "found 0 photos"),
    "too many photos": (grpc_request(raw=(element(b"k") * 65,), shape=[65]), "found 65 photos"),
    "unknown output": (grpc_request(outputs=["kumquat"]), "outputs: name some of boxes"),
    "an output twice": (grpc_request(outputs=["boxes", "boxes"]), "each once"),
    "classes of an output": (
        with_parameter("classification", Parameter(int64_param=3), of_output=True),
        "outputs.0.parameters.classification: is not offered",
    ),
    "a text for binary_data": (
        with_parameter("binary_data", Parameter(string_param=MARK), of_output=True),
        "outputs.0.parameters.binary_data: give true or false",
    ),
    "a text for the timeout": (
        with_parameter("timeout", Parameter(string_param=MARK)),
        "parameters.timeout: give a number of microseconds",
    ),
}
ELSEWHERE = {
    "unknown model": ("ModelInfer", grpc_request("kumquat"), StatusCode.NOT_FOUND, "no model of this name"),
    "unknown version": (
        "ModelInfer",
        messages.ModelInferRequest(model_name="slow", model_version=MARK),
        StatusCode.NOT_FOUND,
        "the version of slow that is served is",
    ),
    "readiness of an unknown model": (
        "ModelReady",
        messages.ModelReadyRequest(name=MARK),
        StatusCode.NOT_FOUND,
        "no model of this name",
    ),
    "metadata of an unknown version": (
        "ModelMetadata",
        messages.ModelMetadataRequest(name="slow", version=MARK),
        StatusCode.NOT_FOUND,
        "the version of slow",
    ),
}


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)
    assert MARK not in caught.value.details()
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("case", CASES)
def test_refusal(stub, case):
    request, message = CASES[case]

    code, details = refusal(stub.ModelInfer, request)

    assert code == StatusCode.INVALID_ARGUMENT
    assert message in details


@pytest.mark.parametrize("case", ELSEWHERE)
def test_what_there_is_not(stub, case):
    method, request, expected, message = ELSEWHERE[case]

    code, details = refusal(getattr(stub, method), request)

    assert code == expected
    assert message in details


def test_what_is_no_message_at_all(server):
    with grpc.insecure_channel(server.grpc) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        unknown = channel.unary_unary("/inference.GRPCInferenceService/Kumquat")

        assert refusal(method, b"\xffkumquat")[0] == StatusCode.INVALID_ARGUMENT
        assert refusal(unknown, b"")[0] == StatusCode.UNIMPLEMENTED


def test_the_server_still_answers_after_all_that(server, photos):
    assert len(ask(server, [photos["shelf"]], "grpc-raw")["scores"]) == 6

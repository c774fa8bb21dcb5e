"""A running server held against the Open Inference Protocol's own definitions."""

import base64
import json
import math

import grpc
import httpx
import jsonschema
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.serving import open_inference_protocol as oip
from tests.serving.conftest import BINS, NAME

# KServe's definition is older. The fields are optional, and whoever sends them is understood.
NOT_IN_KSERVE = {
    "ModelMetadataResponse.properties",
    "InferParameter.double_param",
    "InferParameter.uint64_param",
}


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def versions(client):
    return {name: client.get(f"/v2/models/{name}").json()["versions"][0] for name in (NAME, BINS)}


@pytest.fixture(scope="module")
def call(server):
    """Calls a method with a message that is made of the published definition alone."""
    classes = oip.message_classes()
    with grpc.insecure_channel(server.grpc) as channel:

        def call(method, **fields):
            request = classes[f"{method}Request"]
            ask = channel.unary_unary(
                f"/{oip.SERVICE}/{method}",
                request.SerializeToString,
                classes[f"{method}Response"].FromString,
            )
            return ask(request(**fields), timeout=60)

        yield call


def paths(path, versions):
    """A path of each model, with and without its version."""
    for model, version in versions.items():
        yield path.format(model=model, version=version)
        yield path.replace("/versions/{version}", "").format(model=model)


@pytest.mark.parametrize("path", oip.GET)
def test_what_can_be_read(client, versions, path):
    for each in paths(path, versions):
        response = client.get(each)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        jsonschema.validate(response.json(), oip.GET[path])


@pytest.mark.parametrize("path", [path for path in (*oip.GET, *oip.POST) if "{" in path])
@pytest.mark.parametrize(("model", "version"), [("none", "1"), (NAME, "none")])
def test_what_there_is_not(client, path, model, version):
    method = "GET" if path in oip.GET else "POST"
    response = client.request(method, path.format(model=model, version=version), json={})

    assert response.status_code == 404
    jsonschema.validate(response.json(), oip.ERROR)


@pytest.mark.parametrize("path", oip.POST)
@pytest.mark.parametrize("extra", [{}, {"id": "42"}, {"parameters": {"a": 1, "b": 1.5, "c": "x", "d": True}}])
def test_inference(client, versions, bins, path, extra):
    data = [base64.b64encode(photo).decode() for photo in bins[:2]]
    inputs = [{"name": "image", "shape": [2], "datatype": "BYTES", "data": data}]

    for each in paths(path, versions):
        response = client.post(each, json={"inputs": inputs, **extra})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        jsonschema.validate(response.json(), oip.ANSWER)
        assert response.json().get("id") == extra.get("id")
        promised = {o["name"]: o for o in client.get(each.removesuffix("/infer")).json()["outputs"]}
        for output in response.json()["outputs"]:
            assert math.prod(output["shape"]) == len(output["data"])
            assert output["datatype"] == promised[output["name"]]["datatype"]
            fixed = promised[output["name"]]["shape"]
            assert all(size in (-1, given) for size, given in zip(fixed, output["shape"], strict=True))


def test_binary_outputs_have_the_sizes_of_their_datatypes(client, bins):
    data = [base64.b64encode(photo).decode() for photo in bins]
    inputs = [{"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}]
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    for model in (NAME, BINS):
        response = client.post(
            f"/v2/models/{model}/infer", json=request, headers={"Accept-Encoding": "identity"}
        )

        length = int(response.headers["inference-header-content-length"])
        outputs = json.loads(response.content[:length])["outputs"]
        sizes = [output["parameters"]["binary_data_size"] for output in outputs]
        assert length + sum(sizes) == len(response.content) == int(response.headers["content-length"])
        for output, size in zip(outputs, sizes, strict=True):
            assert "data" not in output
            if output["datatype"] != "BYTES":
                assert size == math.prod(output["shape"]) * oip.SIZES[output["datatype"]]


def test_platforms_have_the_names_of_the_protocol(client, versions):
    assert {client.get(f"/v2/models/{name}").json()["platform"] for name in versions} <= oip.PLATFORMS


def test_the_server_speaks_the_published_grpc_definition(server):
    with grpc.insecure_channel(server.grpc) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        service = pool.FindServiceByName(oip.SERVICE)
        messages = {name: pool.FindMessageTypeByName(f"inference.{name}") for name in oip.MESSAGES}

    for name in oip.METHODS:
        method = service.methods_by_name[name]
        assert (method.input_type.name, method.output_type.name) == (f"{name}Request", f"{name}Response")
    missing = set()
    for name, message in messages.items():
        published = oip.fields_of(name)
        spoken = {field.number: (oip.kind_of(field), field.name) for field in message.fields}
        assert spoken.items() <= published.items()
        missing |= {f"{name}.{published[number][1]}" for number in published.keys() - spoken.keys()}
    assert missing == NOT_IN_KSERVE


def test_every_method_of_the_published_grpc_definition(call, versions, bins):
    assert call("ServerLive").live
    assert call("ServerReady").ready
    assert list(call("ServerMetadata").extensions) == ["binary_tensor_data"]
    for name, version in versions.items():
        for asked in ("", version):
            assert call("ModelReady", name=name, version=asked).ready
            metadata = call("ModelMetadata", name=name, version=asked)
            assert (metadata.name, list(metadata.versions)) == (name, [version])
            assert metadata.platform in oip.PLATFORMS
            assert (metadata.inputs[0].name, metadata.inputs[0].datatype) == ("image", "BYTES")

            tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
            answer = call(
                "ModelInfer",
                model_name=name,
                model_version=asked,
                id="42",
                parameters={"priority": {"uint64_param": 3}, "share": {"double_param": 0.5}},
                inputs=[{**tensor, "contents": {"bytes_contents": [bins[0]]}}],
            )
            assert (answer.model_name, answer.model_version, answer.id) == (name, version, "42")
            assert [output.name for output in answer.outputs]
            assert not answer.raw_output_contents

"""A real server process, asked through KServe's own clients and plain HTTP."""

import asyncio
import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.serving.clients import ask
from tests.serving.conftest import encode, serve

WAYS = ["rest-json", "rest-binary", "grpc-raw", "grpc-typed"]
SHAPES = {
    "boxes": (np.float32, 4),
    "scores": (np.float32,),
    "image_index": (np.int32,),
    "voids": (np.float32, 4),
    "void_scores": (np.float32,),
    "void_facings": (np.int32,),
    "void_tiers": (np.int32,),
    "void_kinds": (np.object_,),
    "void_image_index": (np.int32,),
    "report": (np.object_,),
}


def text(values):
    """BYTES come as bytes or, through JSON, as text."""
    return [value.decode() if isinstance(value, bytes) else value for value in values]


@pytest.mark.parametrize("way", WAYS)
def test_served_answers_are_the_offline_answers(server, detector, photos, way):
    sent = [photos["shelf"], photos["turned"], photos["blank"], photos["webp"]]
    reports = [detector.detect(photo) for photo in sent]
    voids = [void for report in reports for void in report.voids]
    assert [len(report.boxes) for report in reports] == [6, 6, 0, 1]
    assert (reports[1].width, reports[1].height) == (128, 96)
    assert voids

    answer = ask(server, sent, way)

    assert list(answer) == list(SHAPES)
    assert all(answer[name].dtype == dtype for name, (dtype, *_) in SHAPES.items())
    assert answer["boxes"] == pytest.approx(np.concatenate([report.boxes for report in reports]))
    assert answer["scores"] == pytest.approx(np.concatenate([report.scores for report in reports]))
    assert answer["image_index"].tolist() == [0] * 6 + [1] * 6 + [3]
    assert answer["voids"] == pytest.approx(np.array([void.box for void in voids]))
    assert answer["void_scores"] == pytest.approx([void.confidence for void in voids])
    assert answer["void_facings"].tolist() == [void.facings for void in voids]
    assert answer["void_tiers"].tolist() == [void.tier for void in voids]
    assert text(answer["void_kinds"]) == [void.kind for void in voids]
    assert (
        answer["void_image_index"].tolist() == np.repeat(range(4), [len(r.voids) for r in reports]).tolist()
    )
    assert [json.loads(report) for report in text(answer["report"])] == [
        report.to_json() for report in reports
    ]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_found_gives_tensors_of_length_zero(server, photos, way):
    answer = ask(server, [photos["blank"]], way)

    for name, (dtype, *sides) in SHAPES.items():
        assert (answer[name].shape, answer[name].dtype) == ((int(name == "report"), *sides), dtype)


@pytest.mark.parametrize("way", WAYS)
def test_exactly_the_requested_outputs(server, photos, way):
    assert list(ask(server, [photos["shelf"]], way, outputs=["report", "scores"])) == ["report", "scores"]


def test_an_output_says_itself_whether_it_is_binary(server, photos):
    body = {
        "id": "42",
        "inputs": [v2_input(photos["shelf"])],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "scores"}, {"name": "void_kinds", "parameters": {"binary_data": False}}],
    }

    response = httpx.post(f"{server.url}/v2/models/shelf-detector/infer", json=body)

    length = int(response.headers["inference-header-content-length"])
    assert response.headers["content-type"] == "application/octet-stream"
    head = json.loads(response.content[:length])
    assert (head["id"], head["model_name"]) == ("42", "shelf-detector")
    assert head["outputs"][0]["parameters"] == {"binary_data_size": len(response.content) - length}
    assert np.frombuffer(response.content[length:], np.float32) == pytest.approx(np.ones(6))
    assert all(isinstance(kind, str) for kind in head["outputs"][1]["data"])


def v2_input(photo, **fields):
    known = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(photo).decode()]}
    return {**known, **fields}


def test_v1_with_base64(server, detector, photos):
    instances = [{"image": {"b64": base64.b64encode(photos[name]).decode()}} for name in ("shelf", "blank")]

    async def predict():
        async with InferenceRESTClient(RESTConfig(protocol="v1", retries=0)) as client:
            return await client.infer(server.url, {"instances": instances}, model_name="shelf-detector")

    expected = [detector.detect(photos[name]).to_json() for name in ("shelf", "blank")]
    assert asyncio.run(predict()) == {"predictions": expected}


@pytest.mark.parametrize(
    ("photo", "kind"), [("turned", "image/jpeg"), ("shelf", "image/png"), ("webp", "image/webp; q=1")]
)
def test_v1_with_the_photo_as_the_body(server, detector, photos, photo, kind):
    response = httpx.post(
        f"{server.url}/v1/models/shelf-detector:predict",
        content=photos[photo],
        headers={"content-type": kind},
    )

    assert response.json() == {"predictions": [detector.detect(photos[photo]).to_json()]}


@pytest.mark.parametrize("way", ["rest-binary", "grpc-raw"])
def test_photos_beyond_eight_megabytes(server, detector, way):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    photo = encode(noise, "PNG", compress_level=0)
    assert len(photo) > 8 << 20

    assert len(ask(server, [photo], way)["scores"]) == len(detector.detect(photo).scores)


def test_the_server_answers_while_it_predicts(server, photos):
    accepted = 'request_preprocess_seconds_count{model_name="slow"}'
    with ThreadPoolExecutor() as pool, httpx.Client(base_url=server.url) as client:

        def count_accepted():
            return next((line for line in client.get("/metrics").text.splitlines() if accepted in line), "0")

        before = count_accepted()
        call = pool.submit(ask, server, [photos["shelf"]] * 2, "grpc-raw", model="slow")
        while count_accepted() == before:
            assert not call.done()
        answered = 0
        while not call.done():
            assert client.get("/v2/health/live").json() == {"live": True}
            assert client.get("/v2/health/ready").json() == {"ready": True}
            answered += not call.done()

    assert len(call.result()["report"]) == 2
    assert answered >= 10  # both probes, before the prediction came back


def test_many_clients_at_once(server, detector, photos):
    names = ["shelf", "turned", "blank", "webp"] * 8

    async def ask_all():
        async with httpx.AsyncClient(base_url=server.url) as client:
            calls = [
                client.post(
                    "/v1/models/shelf-detector:predict",
                    content=photos[name],
                    headers={"content-type": "image/jpeg"},
                )
                for name in names
            ]
            return [response.json()["predictions"][0] for response in await asyncio.gather(*calls)]

    assert asyncio.run(ask_all()) == [detector.detect(photos[name]).to_json() for name in names]


def test_health_and_metadata_over_both_protocols(server):
    async def look():
        async with (
            InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as rest,
            InferenceGRPCClient(server.grpc, retries=0) as rpc,
        ):
            return [
                await rest.is_server_live(server.url),
                await rest.is_server_ready(server.url),
                await rest.is_model_ready(server.url, "slow"),
                await rpc.is_server_live(),
                await rpc.is_server_ready(),
                await rpc.is_model_ready("shelf-detector"),
            ]

    assert asyncio.run(look()) == [True] * 6
    metadata = httpx.get(f"{server.url}/v2/models/shelf-detector").json()
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in metadata["outputs"]] == list(SHAPES)
    assert httpx.get(f"{server.url}/v2").json()["extensions"] == ["binary_tensor_data"]
    assert httpx.get(f"{server.url}/v2/models").json() == {
        "models": ["shelf-detector", "slow", "bin-counter"]
    }
    assert "request_predict_seconds" in httpx.get(f"{server.url}/metrics").text


def test_sigterm_finishes_what_was_accepted(model_dirs, photos, tmp_path):
    with serve(tmp_path / "server.log", "--model", f"slow={model_dirs['slow']}", "--threads", 1) as server:
        with ThreadPoolExecutor() as pool:
            calls = [
                pool.submit(ask, server, [photos["shelf"]], way, model="slow")
                for way in ("rest-binary", "grpc-raw")
            ]
            accepted = 'request_preprocess_seconds_count{model_name="slow"} 2.0'
            while accepted not in httpx.get(f"{server.url}/metrics").text:
                assert not any(call.done() for call in calls)
                time.sleep(0.02)
            server.process.terminate()
            assert [len(call.result()["scores"]) for call in calls] == [6, 6]
        assert server.process.wait(60) == 0


@pytest.mark.parametrize("verb", ["Load", "Unload"])
def test_nobody_loads_or_unloads_models(server, photos, verb):
    response = httpx.post(f"{server.url}/v2/repository/models/shelf-detector/{verb.lower()}")
    assert response.status_code == 501
    assert set(response.json()) == {"error"}

    with grpc.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        call = getattr(stub, f"RepositoryModel{verb}")
        message = getattr(messages, f"RepositoryModel{verb}Request")(model_name="shelf-detector")
        with pytest.raises(grpc.RpcError) as caught:
            call(message)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    assert len(ask(server, [photos["shelf"]], "grpc-raw")["scores"]) == 6


def test_the_serving_process_has_no_training_libraries(server):
    lines = server.log.read_text().splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}

    assert {"kserve", "openvino", "stocktake.shelf.detector", "stocktake.bins.counter"} <= imported
    assert not imported & {"torch", "torchvision", "ultralytics", "kfp", "mlflow", "matplotlib"}

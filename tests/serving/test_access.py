"""Tokens: who may ask, and who may load and unload models."""

import json
import shutil

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from serving import ask
from serving.predictors.access import Access, RepositoryClosed
from serving.predictors.errors import Unauthorized
from tests.serving.conftest import NAME, serve

TOKEN, ADMIN = "let-me-ask-0123456789", "let-me-change-0123456789"
LOAD = f"/v2/repository/models/{NAME}/load"
UNLOAD = f"/v2/repository/models/{NAME}/unload"
JPEG = {"Content-Type": "image/jpeg"}


@pytest.mark.parametrize(
    ("access", "authorization", "admin", "error"),
    [
        (Access(), None, False, None),
        (Access(), None, True, RepositoryClosed),
        (Access(TOKEN), None, False, Unauthorized),
        (Access(TOKEN), "", False, Unauthorized),
        (Access(TOKEN), TOKEN, False, Unauthorized),
        (Access(TOKEN), f"Basic {TOKEN}", False, Unauthorized),
        (Access(TOKEN), f"Bearer {TOKEN}x", False, Unauthorized),
        (Access(TOKEN), f"Bearer {TOKEN[:-1]}", False, Unauthorized),
        (Access(TOKEN), "Bearer kümmel-und-mehr-0123", False, Unauthorized),
        (Access(TOKEN), f"Bearer {TOKEN}", False, None),
        (Access(TOKEN), f"bearer  {TOKEN} ", False, None),
        (Access(TOKEN), f"Bearer {TOKEN}", True, RepositoryClosed),
        (Access(TOKEN, ADMIN), f"Bearer {TOKEN}", True, Unauthorized),
        (Access(TOKEN, ADMIN), f"Bearer {ADMIN}", True, None),
        (Access(TOKEN, ADMIN), f"Bearer {ADMIN}", False, Unauthorized),
    ],
)
def test_a_token_opens_what_it_is_for(access, authorization, admin, error):
    if error is None:
        access.check(authorization, admin)
    else:
        with pytest.raises(error):
            access.check(authorization, admin)


@pytest.fixture(scope="module")
def guarded(model_dirs, tmp_path_factory):
    """A server with both tokens, and a folder of its own."""
    folder = tmp_path_factory.mktemp("guarded")
    shutil.copytree(model_dirs[NAME], folder / "model")
    for name, token in (("token", TOKEN), ("admin", ADMIN)):
        (folder / name).write_text(token + "\n")
    arguments = ["--model_name", NAME, "--model_dir", folder / "model", "--threads", 1, "--drain_seconds", 0]
    arguments += ["--token_file", folder / "token", "--admin_token_file", folder / "admin"]
    with serve(folder / "server.log", *arguments) as server:
        yield server


def bearer(token):
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("token", [None, "wrong", ADMIN])
@pytest.mark.parametrize("path", [f"/v2/models/{NAME}/infer", f"/v1/models/{NAME}:predict"])
def test_without_the_token_rest_answers_nothing(guarded, photos, path, token):
    response = httpx.post(f"{guarded.url}{path}", content=photos["shelf"], headers={**JPEG, **bearer(token)})

    assert response.status_code == 401
    assert set(response.json()) == {"error"}
    assert response.headers["www-authenticate"] == "Bearer"


def test_with_the_token_rest_answers(guarded, photos):
    response = httpx.post(
        f"{guarded.url}/v1/models/{NAME}:predict", content=photos["shelf"], headers={**JPEG, **bearer(TOKEN)}
    )

    assert response.json()["predictions"][0]["products"] == 6


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_program_takes_a_token(guarded, photos, tmp_path, capsys, protocol):
    for name, content in (("token", TOKEN.encode()), ("shelf.png", photos["shelf"])):
        (tmp_path / name).write_bytes(content)
    where = ["--http", guarded.url] if protocol == "rest" else ["--grpc", guarded.grpc]
    command = [str(tmp_path / "shelf.png"), *where]

    assert ask.main(command) == 1
    assert ask.main([*command, "--token-file", str(tmp_path / "token")]) == 0

    said = capsys.readouterr()
    assert json.loads(said.out)["products"] == 6
    assert "did not answer" in said.err


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", f"/v2/models/{NAME}/ready", "/metrics"]
)
def test_probes_and_metrics_need_no_token(guarded, path):
    assert httpx.get(f"{guarded.url}{path}").status_code == 200


@pytest.mark.parametrize("path", ["/v2/models", f"/v2/models/{NAME}", "/openapi.json", "/nothing"])
def test_what_is_served_is_told_to_those_with_the_token(guarded, path):
    assert httpx.get(f"{guarded.url}{path}").status_code == 401
    assert httpx.get(f"{guarded.url}{path}", headers=bearer(TOKEN)).status_code in (200, 404)


def ask_grpc(server, method, message, token):
    with grpc.insecure_channel(server.grpc) as channel:
        call = getattr(GRPCInferenceServiceStub(channel), method)
        metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        try:
            call(message, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_without_the_token_no_message_is_read(guarded, silent):
    with grpc.insecure_channel(guarded.grpc) as channel:
        infer = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            infer(silent(), timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_grpc_asks_for_the_same_tokens(guarded):
    metadata = messages.ModelMetadataRequest(name=NAME)
    load = messages.RepositoryModelLoadRequest(model_name=NAME)
    refused = grpc.StatusCode.UNAUTHENTICATED

    assert ask_grpc(guarded, "ServerReady", messages.ServerReadyRequest(), None) == grpc.StatusCode.OK
    assert [ask_grpc(guarded, "ModelMetadata", metadata, token) for token in (None, ADMIN)] == [refused] * 2
    assert ask_grpc(guarded, "ModelMetadata", metadata, TOKEN) == grpc.StatusCode.OK
    assert [ask_grpc(guarded, "RepositoryModelLoad", load, token) for token in (None, TOKEN)] == [refused] * 2
    assert ask_grpc(guarded, "RepositoryModelLoad", load, ADMIN) == grpc.StatusCode.OK


def counted(server):
    """How often it turned somebody away, by protocol and code."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    return {
        (sample.labels["protocol"], sample.labels["code"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "stocktake_requests_total" and sample.labels["model"] == ""
    }


def test_who_is_turned_away_is_counted(guarded):
    before = counted(guarded)
    for path in ("/v1/models/other:predict", f"/v2/models/{NAME}/infer", "/v2/models"):
        httpx.post(f"{guarded.url}{path}")
    ask_grpc(guarded, "ModelMetadata", messages.ModelMetadataRequest(name=NAME), None)
    after = counted(guarded)

    new = {key: count - before.get(key, 0) for key, count in after.items()}
    expected = {("rest-v1", "401"): 1, ("rest-v2", "401"): 2, ("grpc", "UNAUTHENTICATED"): 1}
    assert {key: count for key, count in new.items() if count} == expected


def test_the_second_token_unloads_and_loads(guarded):
    ready = f"{guarded.url}/v2/models/{NAME}/ready"
    assert httpx.post(f"{guarded.url}{UNLOAD}", headers=bearer(TOKEN)).status_code == 401
    assert httpx.get(ready).status_code == 200

    assert httpx.post(f"{guarded.url}{UNLOAD}", headers=bearer(ADMIN)).status_code == 200
    assert httpx.get(ready).status_code == 404
    assert httpx.get(f"{guarded.url}/v2/health/ready").status_code == 503

    assert httpx.post(f"{guarded.url}{LOAD}", headers=bearer(ADMIN)).status_code == 200
    assert httpx.get(ready).status_code == 200
    assert httpx.get(f"{guarded.url}/v2/health/ready").status_code == 200


def test_a_model_that_was_never_there_is_unknown(guarded):
    for verb in ("load", "unload"):
        response = httpx.post(f"{guarded.url}/v2/repository/models/kumquat/{verb}", headers=bearer(ADMIN))
        assert response.status_code == 404
        assert list(response.json()) == ["error"]
        assert "there is no model of this name" in response.json()["error"]
        assert "kumquat" not in response.text

"""Paths and methods: what there is, what there is not, and what each says while the server is not ready."""

import json
import re
import socket

import pytest

from tests.serving.light_server import NAME, VERSION, predicted
from tests.serving.wire import check_refusal, send

MODEL = f"/v2/models/{NAME}"
METADATA = {
    "name": NAME,
    "versions": [VERSION],
    "platform": "onnx_onnxv1",
    "inputs": [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "expected_quantity", "datatype": "INT32", "shape": [-1]},
    ],
    "outputs": [
        {"name": "size", "datatype": "INT32", "shape": [-1]},
        {"name": "half", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "echo", "datatype": "BYTES", "shape": [-1]},
    ],
    "properties": {"engine": "none", "device": "none", "precision": "exact"},
}
SAID = {
    "/": {"status": "alive"},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/models": {"models": [NAME]},
    "/v1/models": {"models": [NAME]},
    MODEL: METADATA,
    f"{MODEL}/versions/{VERSION}": METADATA,
    f"{MODEL}/ready": {"name": NAME, "ready": True},
    f"{MODEL}/versions/{VERSION}/ready": {"name": NAME, "ready": True},
    f"/v1/models/{NAME}": {"name": NAME, "ready": True},
}


@pytest.mark.parametrize("path", SAID)
def test_what_is_said(light_connection, path):
    response, said = send(light_connection, "GET", path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(said) == SAID[path]

    head, nothing = send(light_connection, "HEAD", path)
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == response.headers["Content-Length"]


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_what_the_server_says_of_itself(light_connection, path):
    said = json.loads(send(light_connection, "GET", path)[1])

    assert said == {"name": "kserve", "version": said["version"], "extensions": ["binary_tensor_data"]}


@pytest.mark.parametrize("asked", ["light_connection", "connection"])
def test_nobody_is_sent_to_a_host_that_the_request_names(request, asked):
    connection = request.getfixturevalue(asked)
    response, said = send(connection, "GET", "/v2/health/ready/", headers={"Host": "kumquat.example"})
    check_refusal(response, said, 404, "Not Found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v2/models/NAME/infer", "POST, OPTIONS"),
        ("PUT", f"/v2/models/NAME/versions/{VERSION}/infer", "POST, OPTIONS"),
        ("GET", "/v1/models/NAME:predict", "POST, OPTIONS"),
        ("GET", "/v1/models/NAME:explain", "POST, OPTIONS"),
        ("DELETE", "/v1/models/NAME", "GET, HEAD, OPTIONS"),
        ("POST", "/v2/models/NAME", "GET, HEAD, OPTIONS"),
        ("POST", "/v2", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v2/health/live", "GET, HEAD, OPTIONS"),
        ("TRACE", "/", "GET, HEAD, OPTIONS"),
    ],
)
@pytest.mark.parametrize(("asked", "name"), [("light_connection", NAME), ("connection", "shelf-detector")])
def test_methods_that_there_are_not(request, asked, name, method, path, allowed):
    """Neither beside our routes alone nor beside those of KServe."""
    connection, path = request.getfixturevalue(asked), path.replace("NAME", name)
    response, said = send(connection, method, path, b"kumquat")
    check_refusal(response, said, 405, "Method Not Allowed")
    assert response.headers["Allow"] == allowed

    response, said = send(connection, "OPTIONS", path)
    assert (response.status, said, response.headers["Allow"]) == (204, b"", allowed)
    assert not response.will_close


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/nowhere", "/v3", "/kumquat%00%ff", "/v2/models/a/b/c"])
def test_paths_that_there_are_not(light_connection, method, path):
    response, said = send(light_connection, method, path, b"kumquat" if method == "POST" else b"")

    if method == "HEAD":
        assert (response.status, said) == (404, b"")
    else:
        check_refusal(response, said, 404)
    assert not response.will_close


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/kumquat",
        "/v2/models/kumquat/ready",
        "/v1/models/kumquat",
        f"{MODEL}/versions/kumquat",
        f"{MODEL}/versions/kumquat/ready",
        "/v2/models/kumquat/versions/1",
    ],
)
def test_models_that_there_are_not(light_connection, path):
    response, said = send(light_connection, "GET", path)

    check_refusal(response, said, 404)
    assert not response.will_close


def test_a_model_that_is_not_ready(light, light_connection):
    light.model.ready = False
    try:
        for path in SAID:
            response, said = send(light_connection, "GET", path)
            if "ready" in path or path.startswith("/v1/models/"):
                check_refusal(response, said, 503, "not ready")
            else:
                assert json.loads(said) == SAID[path]
    finally:
        light.model.ready = True


def test_a_request_for_another_protocol_is_answered_in_this_one(light_connection):
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
    body = b'{"instances": [{"image": {"b64": "a3VtcXVhdA=="}}]}'
    websocket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "a2lsbA=="}

    for headers in (upgrade, {}, upgrade, websocket):
        said = send(light_connection, "POST", f"/v1/models/{NAME}:predict", body, headers)[1]
        assert json.loads(said) == predicted(7)
        chunks = iter([body[:9], body[9:]])
        said = send(light_connection, "POST", f"/v1/models/{NAME}:predict", chunks, headers)[1]
        assert json.loads(said) == predicted(7)
    for headers in (upgrade, websocket):
        assert json.loads(send(light_connection, "GET", "/v2/health/live", headers=headers)[1]) == {
            "live": True
        }


@pytest.mark.parametrize(
    ("request_line", "message"),
    [("CONNECT kumquat:80 HTTP/1.1", "this is no proxy"), ("kumquat", "this is not HTTP/1.1")],
)
def test_what_is_no_request(light, request_line, message):
    with socket.create_connection(("127.0.0.1", light.http_port), timeout=60) as raw:
        raw.sendall(f"{request_line}\r\nHost: a\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(4096), b""))

    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(said) == {"error": message}


def test_requests_that_come_at_once(light):
    """Pipelined, the first of them refused before its body."""
    refused = b"POST /v2/models/other/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nkumquat"
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    last = live.replace(b"Host: a", b"Host: a\r\nConnection: close")
    with socket.create_connection(("127.0.0.1", light.http_port), timeout=60) as raw:
        raw.sendall(refused + live + last)
        answer = b"".join(iter(lambda: raw.recv(4096), b""))

    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"404", b"200", b"200"]

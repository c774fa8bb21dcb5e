"""The life of a REST request: known, ready, a place, the body, the answer; and every way that it may end."""

import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from serving.predictors.requests import Limits
from tests.serving.light_server import NAME, VERSION, LightServer, predicted, wait_until
from tests.serving.wire import JPEG, JSON, binary, check_refusal, connect, element, send

PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
TIMEOUT = "X-Envoy-Expected-Rq-Timeout-Ms"
PHOTO = b"kumquat"


def begin(connection, path, length, **headers):
    """Send the head of a request, and not a byte of the body that it announces."""
    connection.putrequest("POST", path)
    for name, value in {"Content-Length": str(length), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()


def refuse(connection, status, message):
    response = connection.getresponse()
    check_refusal(response, response.read(), status, message)
    assert not response.will_close
    return response


def is_answered(connection):
    response, said = send(connection, "POST", PREDICT, PHOTO, JPEG)
    return response.status == 200 and json.loads(said) == predicted(len(PHOTO))


def test_a_good_request_of_each_kind(light_connection):
    content, headers = binary(element(PHOTO) * 2, shape=[2])

    response, said = send(light_connection, "POST", INFER, content, headers)

    assert response.status == 200
    assert json.loads(said)["model_version"] == VERSION
    outputs = {output["name"]: output for output in json.loads(said)["outputs"]}
    assert outputs["size"]["data"] == [7, 7]
    assert outputs["half"] == {"name": "half", "shape": [2, 1], "datatype": "FP32", "data": [3.5, 3.5]}
    assert outputs["echo"]["data"] == ["kumquat"] * 2
    assert is_answered(light_connection)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v2/models/other/infer", 404, "there is no model of this name"),
        ("/v1/models/other:predict", 404, "there is no model of this name"),
        (f"/v2/models/{NAME}/versions/2/infer", 404, f"the version of light that is served is {VERSION}"),
        ("/v2/models/other/versions/1/infer", 404, "there is no model of this name"),
        (f"/v1/models/{NAME}:explain", 501, "explanations are not offered"),
        ("/v1/models/other:explain", 404, "there is no model of this name"),
        ("/v2/models//infer", 404, "Not Found"),
    ],
)
def test_what_there_is_not_is_refused_before_the_body(light_connection, path, status, message):
    begin(light_connection, path, 1 << 40)

    refuse(light_connection, status, message)


def test_a_model_that_is_not_ready(light, light_connection):
    light.model.ready = False
    light.model.admission.limit = 0

    begin(light_connection, INFER, 7)
    refuse(light_connection, 503, "Model with name light is not ready")
    light_connection.send(PHOTO)

    light.reset()
    assert is_answered(light_connection)


@pytest.mark.parametrize("path", [INFER, PREDICT, f"/v2/models/{NAME}/versions/{VERSION}/infer"])
def test_no_place_is_told_before_the_body_comes(light, light_connection, path):
    light.model.admission.limit = 0

    begin(light_connection, path, 150_000)
    response = refuse(light_connection, 429, "too many requests wait; come back in 7 s")
    assert response.headers["Retry-After"] == "7"
    light_connection.send(bytes(150_000))  # what the client had begun is read and forgotten

    light.reset()
    assert is_answered(light_connection)


def test_a_place_is_held_until_the_answer_and_no_longer(light, light_connection):
    light.model.admission.limit = 1
    light.model.held = True
    with ThreadPoolExecutor() as pool, closing(connect(light.http_port)) as other:
        call = pool.submit(is_answered, other)
        wait_until(lambda: light.model.inside)
        begin(light_connection, PREDICT, 7)
        refuse(light_connection, 429, "")
        light_connection.send(PHOTO)
        light.model.held = False
        assert call.result()
    assert is_answered(light_connection)


def test_no_room_for_a_body_is_told_while_it_comes(light, light_connection):
    light.model.admission.room = 50_000
    begin(light_connection, PREDICT, 150_000)
    light_connection.send(bytes(60_000))
    response = refuse(light_connection, 429, "come back in 7 s")
    assert response.headers["Retry-After"] == "7"
    light_connection.send(bytes(90_000))

    light.reset()
    assert is_answered(light_connection)


def test_bodies_beyond_the_limit_are_refused_unread(light, light_connection):
    begin(light_connection, PREDICT, 200_001)

    refuse(light_connection, 413, "the body is larger than 200,000 bytes; send fewer or smaller photos")


@pytest.mark.parametrize("length", [200_000, 1])
def test_bodies_up_to_the_limit_are_read(light_connection, length):
    chunks = iter([bytes(length // 2), bytes(length - length // 2)])
    for content in (bytes(length), chunks):
        said = send(light_connection, "POST", PREDICT, content, JPEG)[1]
        assert json.loads(said) == predicted(length)


def test_bodies_without_an_end_are_refused_at_the_limit(light, light_connection):
    begin_chunked(light_connection)
    for _ in range(21):
        light_connection.send(b"2710\r\n" + bytes(10_000) + b"\r\n")
    refuse(light_connection, 413, "larger than 200,000 bytes")
    light_connection.send(b"0\r\n\r\n")  # it ends after all, and the light_connection goes on

    assert is_answered(light_connection)


def begin_chunked(connection):
    connection.putrequest("POST", PREDICT)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Content-Type", "image/jpeg")
    connection.endheaders()


def test_a_body_that_trickles(light, light_connection):
    begin(light_connection, PREDICT, 7, **{TIMEOUT: "50"})
    light_connection.send(b"k")
    refuse(light_connection, 408, "the body did not come in time")
    light_connection.send(PHOTO[1:])

    assert not light.model.admission.taken
    assert is_answered(light_connection)


def test_the_deadline_of_a_header(light, light_connection):
    light.model.held = True
    response, said = send(light_connection, "POST", PREDICT, PHOTO, JPEG | {TIMEOUT: "500"})

    check_refusal(response, said, 504, "was not answered in the time that it has")
    wait_until(lambda: not light.model.inside)
    light.model.held = False
    assert is_answered(light_connection)


def test_the_deadline_of_a_parameter(light, light_connection):
    light.model.held = True
    body = {
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["a3VtcXVhdA=="]}],
        "parameters": {"timeout": 50_000},
    }
    response, said = send(light_connection, "POST", INFER, json.dumps(body).encode(), JSON)

    check_refusal(response, said, 504, "was not answered in the time that it has")
    wait_until(lambda: light.model.cancelled == 1)


@pytest.mark.parametrize("value", ["0", "999999999999"])
def test_deadlines_that_are_none(light_connection, value):
    said = send(light_connection, "POST", PREDICT, PHOTO, JPEG | {TIMEOUT: value})[1]

    assert json.loads(said) == predicted(7)


def test_the_servers_own_deadline():
    server = LightServer(Limits(body_bytes=1000, seconds=0.5))
    server.model.held = True
    connection = connect(server.http_port)
    try:
        response, said = send(connection, "POST", PREDICT, PHOTO, JPEG | {TIMEOUT: "60000"})
        check_refusal(response, said, 504)
    finally:
        connection.close()
        server.close()


def test_a_client_that_goes_while_it_waits_frees_its_place(light):
    light.model.held = True
    light.model.admission.limit = 1
    gone = connect(light.http_port)
    gone.request("POST", PREDICT, PHOTO, JPEG)
    wait_until(lambda: light.model.inside == 1)
    gone.close()

    wait_until(lambda: light.model.cancelled == 1)
    wait_until(lambda: not light.model.admission.taken)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_goes_within_its_body_frees_its_place(light, how):
    gone = socket.create_connection(("127.0.0.1", light.http_port))
    gone.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\nkum".encode())
    wait_until(lambda: light.model.admission.taken == 1)
    if how == "reset":
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()

    wait_until(lambda: not light.model.admission.taken)
    assert not light.model.inside


def test_faults_of_ours_are_not_told(light_connection):
    response, said = send(light_connection, "POST", PREDICT, b"fail", JPEG)

    check_refusal(response, said, 500, "the server failed on this request; its log says why")
    assert not response.will_close
    assert is_answered(light_connection)


def test_the_model_sees_the_headers(light, light_connection):
    send(light_connection, "POST", PREDICT, PHOTO, JPEG | {"X-Request-Id": "42"})

    assert light.model.headers["x-request-id"] == "42"

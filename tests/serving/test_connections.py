"""Clients that are slow, that go away, that never end, or that come by the hundred; the server lives on."""

import asyncio
import contextlib
import http.client
import json
import select
import socket
import struct
from pathlib import Path

import pytest

from serving.predictors import bodies
from serving.predictors.requests import Limits
from tests.serving.clients import ask
from tests.serving.light_server import NAME, LightServer, predicted, wait_until
from tests.serving.wire import INFER, JPEG, PREDICT, binary, check_refusal, connect, element, send

LIGHT = f"/v1/models/{NAME}:predict"
HEAD = f"POST {LIGHT} HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n".encode()


@pytest.fixture
def light():
    """One that takes large bodies; a new one, so that its connections can be counted."""
    server = LightServer(Limits(body_bytes=8 << 20))
    yield server
    server.close()


def open_raw(server, receive_buffer=None):
    raw = socket.socket()
    if receive_buffer is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.settimeout(60)
    raw.connect(("127.0.0.1", server.http_port))
    return raw


def reset(raw):
    """Close a connection as a crash does."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def is_healthy(light):
    connection = connect(light.http_port)
    said = json.loads(send(connection, "POST", LIGHT, b"kumquat", JPEG)[1])
    connection.close()
    wait_until(lambda: not light.model.admission.taken)  # those whose clients went away are still being left
    return said == predicted(7)


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_a_body_of_300_mb_is_refused_at_once(server, photos, path):
    connection = connect(server.http_port)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(300 << 20))
    connection.endheaders()

    response = connection.getresponse()  # not a byte of it was sent
    check_refusal(response, response.read(), 413, "the body is larger than 134,217,728 bytes")
    assert not response.will_close
    connection.close()
    assert len(ask(server, [photos["shelf"]], "rest-binary")["scores"]) == 6


def test_a_refused_body_that_is_sent_all_the_same(light):
    """It is read and forgotten, so that the connection can go on."""
    connection = connect(light.http_port)
    connection.putrequest("POST", LIGHT)
    connection.putheader("Content-Length", str(40 << 20))
    connection.endheaders()
    response = connection.getresponse()
    check_refusal(response, response.read(), 413)
    for _ in range(40):
        connection.send(bytes(1 << 20))

    assert json.loads(send(connection, "POST", LIGHT, b"kumquat", JPEG)[1]) == predicted(7)
    connection.close()


def test_a_body_that_comes_byte_by_byte(light):
    with open_raw(light) as raw:
        for number in range(len(HEAD) + 9):
            raw.sendall((HEAD + b"kumquats!")[number : number + 1])

        assert raw.recv(4096).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("trickles", [False, True])
def test_a_body_that_makes_no_progress_is_not_waited_for(monkeypatch, trickles):
    """Long before the deadline, or some dozens of silent connections would shut everybody out."""
    monkeypatch.setattr(bodies, "PAUSE_S", 0.5)
    server = LightServer(Limits(seconds=3000))
    head = HEAD.replace(b"Content-Length: 9", b"Content-Length: 99999")
    try:
        with open_raw(server) as raw:
            raw.sendall(head + b"kum")
            while trickles and not select.select([raw], [], [], 0.05)[0]:
                raw.sendall(b"q")
            assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: not server.model.admission.taken)
    finally:
        server.close()


def test_a_client_that_goes_within_the_answer(light):
    photo = element(bytes(7 << 20))
    content, headers = binary(photo, outputs=[{"name": "echo", "parameters": {"binary_data": True}}])
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = (
        f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {len(content)}\r\n\r\n"
    )
    for leave in (reset, socket.socket.close):
        raw = open_raw(light, receive_buffer=4096)
        raw.sendall(request.encode() + content)
        assert raw.recv(1000).startswith(b"HTTP/1.1 200 OK")
        leave(raw)

    wait_until(lambda: not light.rest.server_state.connections)
    assert is_healthy(light)


def test_hundreds_of_connections_that_come_and_go(light):
    beginnings = [b"", HEAD[:20], HEAD, HEAD + b"kum", HEAD + b"kumquats!", b"kumquat\r\n\r\n", b"\0" * 9]
    assert is_healthy(light)
    before = open_files()

    for number in range(350):
        raw = open_raw(light)
        raw.sendall(beginnings[number % 7])
        (reset if number % 2 else socket.socket.close)(raw)

    wait_until(lambda: not light.rest.server_state.connections)
    assert is_healthy(light)
    wait_until(lambda: not light.rest.server_state.connections)
    assert open_files() <= before


def test_many_at_once_and_half_of_them_wrong(light):
    async def one(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", light.http_port)
        writer.write(HEAD.replace(b"Length: 9", b"Length: 9" if number % 2 else b"Length: 9000000"))
        writer.write(b"kumquats!")
        status = (await reader.readline()).split()[1]
        writer.close()
        return status

    async def all_of_them():
        return await asyncio.gather(*[one(number) for number in range(200)])

    assert asyncio.run(all_of_them()) == [b"413", b"200"] * 100
    assert is_healthy(light)


def test_a_request_that_never_comes_is_not_waited_for():
    server = LightServer(keep_alive=1)
    refused = HEAD.replace(NAME.encode(), b"other") + b"kum"
    beginnings = {b"": False, HEAD[:30]: False, refused: True}
    try:
        connections = {beginning: open_raw(server) for beginning in beginnings}
        for beginning, raw in connections.items():
            raw.sendall(beginning)
        for beginning, is_answered in beginnings.items():
            with connections[beginning] as raw:
                answer = b"".join(iter(lambda raw=raw: raw.recv(4096), b""))  # until the server closes it
                assert answer.startswith(b"HTTP/1.1 404") == is_answered
    finally:
        server.close()


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /v2 HTTP/1.1\r\nA: ",
        b"GET /" + b"a" * 60_000,
        b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
    ],
    ids=["a line", "a path", "lines"],
)
def test_a_header_without_end(light, begin):
    raw = open_raw(light)
    raw.sendall(begin)
    with contextlib.suppress(ConnectionError):  # it may be closed meanwhile
        for _ in range(64):
            raw.sendall(b"a" * 2048)
    said = b""
    with contextlib.suppress(ConnectionError):
        while part := raw.recv(65_536):
            said += part
    raw.close()
    assert said.startswith(b"HTTP/1.1 431 ")
    assert said.endswith(b'{"error":"the header has more than 65,536 bytes"}')
    assert is_healthy(light)


@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (70_000, 431), (100_000, 431)])
def test_a_long_header_that_comes_at_once(light, size, status):
    with open_raw(light) as raw:
        raw.sendall(HEAD.replace(b"Host: a", b"Host: a\r\nA: " + b"a" * size) + b"kumquats!")
        response = http.client.HTTPResponse(raw)
        response.begin()
        said = response.read()
    assert response.status == status
    if status == 431:
        check_refusal(response, said, status, "the header has more than 65,536 bytes")
        assert response.will_close
    assert is_healthy(light)


@pytest.mark.parametrize("before", [b"", b"4\r\nkumq\r\n"])
def test_a_chunk_without_a_size_is_answered(light, before):
    head = HEAD.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked")
    with open_raw(light) as raw:
        raw.sendall(head + before)
        wait_until(lambda: light.model.admission.taken)
        raw.sendall(b"zz\r\nkumquat\r\n")
        response = http.client.HTTPResponse(raw)
        response.begin()
        check_refusal(response, response.read(), 400, "this is not HTTP/1.1")
        assert response.will_close
    assert is_healthy(light)


def test_what_follows_a_request_is_no_answer_to_it(light):
    """One is being answered when rubbish follows it: the connection is closed, and nothing said."""
    light.model.held = True
    with open_raw(light) as raw:
        raw.sendall(HEAD + b"kumquats!")
        wait_until(lambda: light.model.inside)
        raw.sendall(b"zz\r\n\r\n")
        assert raw.recv(4096) == b""
    light.model.held = False
    assert is_healthy(light)


def test_a_trailer_without_end(light):
    raw = open_raw(light)
    head = HEAD.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked")
    raw.sendall(head + b"9\r\nkumquat!!\r\n0\r\nA: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(200):
            raw.sendall(b"a" * 2048)
        while raw.recv(65_536):
            pass
    raw.close()
    assert is_healthy(light)


def test_a_client_that_does_not_read_is_left():
    light = LightServer(keep_alive=1)
    try:
        raw = open_raw(light, receive_buffer=4096)
        raw.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
        wait_until(lambda: not light.rest.server_state.connections)
        raw.close()
        assert is_healthy(light)
    finally:
        light.close()


def test_more_connections_than_there_may_be():
    """They are refused as requests are that find no place, but whoever watches the server may look."""
    server = LightServer(max_connections=3)
    try:
        first = [connect(server.http_port) for _ in range(2)]
        for connection in first:
            assert send(connection, "GET", "/v2/health/live")[0].status == 200
        late = connect(server.http_port)
        for path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/{NAME}/ready"):
            assert send(late, "GET", path)[0].status == 200

        response, said = send(late, "POST", LIGHT, b"kumquat", JPEG)
        check_refusal(response, said, 429)
        assert response.headers["Retry-After"] == "1"
        assert response.will_close
        for connection in (*first, late):
            connection.close()
    finally:
        server.close()

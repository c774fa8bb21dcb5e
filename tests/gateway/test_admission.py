"""How many photos may come in at a time, how many bytes of them, how slowly, and from whom."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest
from fastapi import Request

from serving.gateway import bodies
from serving.gateway.access import Role
from serving.gateway.admission import bytes_of
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import SettingsError
from tests.gateway_thread import GatewayThread, grey_photo

PHOTO = 100_000  # bytes that one may have
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def begin(gateway: GatewayThread, token: str, size: int, headers=PNG) -> socket.socket:
    """A request that announces a body of so many bytes, and sends none of it."""
    connection = socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), timeout=60)
    lines = {"Host": "x", "Authorization": f"Bearer {token}", "Content-Length": size, **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"POST /api/photos?task=bins HTTP/1.1\r\n{head}\r\n".encode())
    return connection


def answer_to(connection: socket.socket) -> tuple[int, str]:
    """Status and the whole head of an answer."""
    head = b""
    while b"\r\n\r\n" not in head:
        block = connection.recv(4096)
        assert block, head
        head += block
    return int(head.split()[1]), head.decode().lower()


@contextmanager
def held(gateway: GatewayThread, *requests: socket.socket) -> Iterator[None]:
    """Once all these requests have their places; gone at the end, and their places free."""
    wait(lambda: places(gateway) == len(requests))
    yield
    for each in requests:
        each.close()
    wait(lambda: places(gateway) == 0)


def places(gateway: GatewayThread) -> int:
    return gateway._server.config.app.state.admission._places.total()


def wait(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def send(gateway: GatewayThread, token: str, photo: bytes = b"") -> httpx.Response:
    with gateway.client(token=token) as client:
        return client.post("/api/photos?task=bins", content=photo or grey_photo(50), headers=PNG)


def test_no_token_has_all_the_places(start_gateway):
    gateway = start_gateway(uploads=4)
    greedy, other = gateway.tokens["operator"], gateway.token("other", Role.OPERATOR)
    with held(gateway, *(begin(gateway, greedy, 1000) for _ in range(2))):
        refused = send(gateway, greedy)
        assert refused.status_code == 429
        assert "this token sends too many photos" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) >= 1
        assert send(gateway, other).status_code == 200
        with closing(begin(gateway, other, 1000)) as third, closing(begin(gateway, other, 1000)) as fourth:
            wait(lambda: places(gateway) == 4)
            said = send(gateway, gateway.tokens["admin"]).json()["error"]
            assert said.startswith("too many photos come in")
            third.close()
            fourth.close()
            wait(lambda: places(gateway) == 2)
    assert send(gateway, greedy).status_code == 200


@pytest.mark.parametrize(
    ("headers", "size", "fits"),
    [
        (PNG, PHOTO, 4),
        (FORM, 10 * PHOTO, 2),  # two photos of it are in memory
        (JSON, 1000, 4),  # the photo is fetched
    ],
    ids=["body", "form", "url"],
)
def test_bytes_are_bounded_before_they_are_read(start_gateway, headers, size, fits):
    gateway = start_gateway(max_photo_bytes=PHOTO, max_bodies_bytes=4 * PHOTO)
    tokens = [gateway.token(f"t{number}", Role.OPERATOR) for number in range(5)]
    with held(gateway, *(begin(gateway, token, size, headers) for token in tokens[:fits])):
        with closing(begin(gateway, tokens[-1], size, headers)) as one_more:
            status, head = answer_to(one_more)
        assert status == 429
        assert "retry-after: 1" in head
    assert send(gateway, tokens[-1]).status_code == 200


@pytest.mark.parametrize(
    ("headers", "by_url", "most"),
    [
        (PNG | {"Content-Length": "1000"}, 1, 1000),
        (PNG, 1, 2 * PHOTO),  # it does not say how much will come
        (FORM | {"Content-Length": str(50 * PHOTO)}, 4, 2 * PHOTO),
        (JSON | {"Content-Length": "1000"}, 4, 4 * PHOTO),
    ],
)
def test_what_a_request_may_hold(headers, by_url, most):
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "headers": raw})
    assert bytes_of(request, load_gateway_settings(max_photo_bytes=PHOTO), by_url) == most


def test_json_without_a_place_is_small(start_gateway):
    with start_gateway().client() as client:
        answer = client.patch(f"/api/alerts/{'0' * 32}", content=b" " * 70_000 + b"{}", headers=JSON)
    assert answer.status_code == 413


def test_small_photos_take_what_they_announce(start_gateway):
    gateway = start_gateway(max_photo_bytes=PHOTO, max_bodies_bytes=4 * PHOTO)
    token = gateway.tokens["operator"]
    with held(gateway, *(begin(gateway, token, PHOTO // 10) for _ in range(12))):
        assert send(gateway, token).status_code == 200


def test_a_body_that_trickles(start_gateway, monkeypatch):
    monkeypatch.setattr(bodies, "PAUSE_S", 1.0)
    gateway = start_gateway()
    with closing(begin(gateway, gateway.tokens["operator"], 1_000_000)) as slow:
        slow.settimeout(0.05)
        deadline = time.monotonic() + 60
        head = b""
        while not head:
            assert time.monotonic() < deadline, "it may go on for ever"
            slow.sendall(b"\0")
            try:
                head = slow.recv(4096)
            except TimeoutError:
                continue
        assert head.startswith(b"HTTP/1.1 408")
        wait(lambda: places(gateway) == 0)


def test_room_for_less_than_a_job():
    with pytest.raises(SettingsError, match=r"MAX_BODIES_BYTES: .*give 400000 or more"):
        load_gateway_settings(max_photo_bytes=PHOTO, max_bodies_bytes=4 * PHOTO - 1)

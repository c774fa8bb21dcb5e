"""Photos by URL: of allowed hosts, at public addresses, small, soon, and from nowhere else."""

import asyncio
import ipaddress
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from serving.gateway import remote
from serving.gateway.remote import check_url, fetch_photo, locate
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import BadRequest, PhotoTooLarge
from tests.gateway_thread import grey_photo


class Photos(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/photo.png")
            self.end_headers()
        elif self.path == "/slow":
            self.server.released.wait(60)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"\0" * 10_000)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(grey_photo(100))

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Photos)
    server.asked, server.released = [], threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def settings_for(server, private=("localhost",)):
    host = f"localhost:{server.server_port}"
    return load_gateway_settings(photo_hosts=host, private_hosts=",".join(private), max_photo_bytes=50_000)


def fetch(server, path, **options):
    settings = settings_for(server, **options)
    url = check_url(f"http://localhost:{server.server_port}{path}", settings.photo_hosts, "url")
    return asyncio.run(fetch_photo(url, settings))


def test_a_photo_of_an_allowed_host(server):
    assert fetch(server, "/photo.png") == grey_photo(100)
    assert server.asked == [("/photo.png", f"localhost:{server.server_port}")]


def test_private_addresses_need_leave(server):
    with pytest.raises(BadRequest, match="may not ask"):
        fetch(server, "/photo.png", private=())
    assert server.asked == []


def test_redirects_are_not_followed(server):
    with pytest.raises(BadRequest, match="answers 302"):
        fetch(server, "/moved")
    assert [path for path, _ in server.asked] == ["/moved"]


def test_too_much_and_too_slow(server, monkeypatch):
    with pytest.raises(PhotoTooLarge, match="50,000"):
        fetch(server, "/endless")
    monkeypatch.setattr(remote, "FETCH_S", 0.3)
    with pytest.raises(BadRequest, match="did not send the photo"):
        fetch(server, "/slow")


def test_a_name_that_changes_its_address_gains_nothing(server, monkeypatch):
    """The first look-up says a public address, all others the loopback device; that is never asked."""
    answers = iter(["93.184.215.14"] + ["127.0.0.1"] * 9)
    real = socket.getaddrinfo

    def look_up(host, port, *args, **options):
        if host == "rebind.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]
        return real(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = f"http://rebind.example:{server.server_port}/photo.png"
    settings = load_gateway_settings(photo_hosts=f"rebind.example:{server.server_port}")
    target = asyncio.run(locate(check_url(url, settings.photo_hosts, "url"), settings, "url"))
    assert target.url.host == "93.184.215.14"
    assert target.headers == {"Host": f"rebind.example:{server.server_port}"}
    with pytest.raises(BadRequest, match="may not ask"):
        asyncio.run(locate(check_url(url, settings.photo_hosts, "url"), settings, "url"))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://a.example/", "http://", "//a.example/x", "http://a.example@evil.example/",
        "http://evil.example/", "http://a.example.evil.example/", "http://a.example:22/", "http://127.0.0.1/",
        "http://[::1]/", "http://2130706433/", "http://a.example\\@evil.example/", "nonsense", "http://a b/",
        "http://\0a.example/", "http://user:pass@a.example/", "http://a.example/#x",
        "http://xn--/", "http://xn--a/", "HTTP://XN--99999999999/x", "http://a.xn--a/",
    ],
)  # fmt: skip
def test_urls_that_are_not_asked(url):
    with pytest.raises(BadRequest):
        check_url(url, frozenset({"a.example"}), "url")


def test_names_are_compared_as_names():
    hosts = frozenset({"a.example", "b.example:8080"})
    for url in ("http://A.example/x", "https://a.example./x", "http://b.example:8080/x"):
        assert isinstance(check_url(url, hosts, "url"), httpx.URL)


PUBLIC = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
PRIVATE = ("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "::1", "fd00::1")
NEVER = (
    "169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "ff02::1", "::", "::ffff:127.0.0.1",
    "::ffff:93.184.215.14", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC + PRIVATE + NEVER)
def test_addresses(address):
    parsed = ipaddress.ip_address(address)
    assert remote._is_open(parsed, False) == (address in PUBLIC)
    assert remote._is_open(parsed, True) == (address in PUBLIC + PRIVATE)

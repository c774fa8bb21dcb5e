"""Tar archives from files and from a web server that loses connections."""

import http.server
import io
import random
import tarfile
import threading

import pytest

from stocktake import archive
from stocktake.errors import DataError, StoreError

CONTENTS = {f"set/images/{n}.jpg": random.Random(n).randbytes(50_000 + n) for n in range(40)}


def make_tar(mode: str = "w:gz", extra: list[tarfile.TarInfo] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in extra or []:
            tar.addfile(member)
    return buffer.getvalue()


def read(source: str, wanted=lambda path: True, **options) -> dict[str, bytes | None]:
    return dict(archive.read_members(source, wanted, lambda done, total: None, **options))


class Server(http.server.ThreadingHTTPServer):
    """Serves one body; cuts the first `cuts` answers in the middle."""

    daemon_threads = True

    def __init__(self, body: bytes, cuts: int = 0, ranges: bool = True, status: int = 200):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.cuts, self.ranges, self.status = body, cuts, ranges, status
        self.etag = '"one"'
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.tar.gz"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        body = server.body[start:]
        self.send_response(206 if start else server.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        if server.cuts:
            server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    servers = []
    monkeypatch.setattr(archive, "FIRST_PAUSE_S", 0.01)

    def start(*args, **options) -> Server:
        servers.append(Server(*args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_members_come_whole(tmp_path, mode):
    path = tmp_path / "set.tar"
    link = tarfile.TarInfo("set/images/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path.write_bytes(make_tar(mode, [link]))
    assert read(str(path)) == CONTENTS
    only = read(str(path), wanted=lambda name: name.endswith("/3.jpg"))
    assert {name for name, data in only.items() if data is not None} == {"set/images/3.jpg"}


def test_progress_reaches_the_end(tmp_path):
    path = tmp_path / "set.tar.gz"
    path.write_bytes(make_tar())
    calls: list[tuple[int, int | None]] = []
    list(archive.read_members(str(path), lambda name: True, lambda done, total: calls.append((done, total))))
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)
    assert calls == sorted(calls)


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_an_archive_that_ends_early_is_refused(tmp_path, part):
    whole = make_tar()
    path = tmp_path / "set.tar.gz"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DataError, match=r"not a whole tar archive.*download it again"):
        read(str(path))


@pytest.mark.parametrize("body", [b"", b"<html>please log in</html>" * 50, b"\x1f\x8b damaged" * 100])
def test_what_is_no_archive_is_refused(tmp_path, body):
    path = tmp_path / "set.tar.gz"
    path.write_bytes(body)
    with pytest.raises(DataError, match="not a whole tar archive"):
        read(str(path))


def test_a_missing_archive_and_a_huge_member_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such archive"):
        read(str(tmp_path / "nothing.tar"))
    path = tmp_path / "set.tar"
    path.write_bytes(make_tar("w"))
    with pytest.raises(DataError, match=r"images/0\.jpg has 50,000 bytes, at most 10,000 are read"):
        read(str(path), max_bytes=10_000)


def test_a_cut_download_asks_for_the_rest(serve):
    server = serve(make_tar(), cuts=3)
    assert read(server.url) == CONTENTS
    assert server.asked[0] is None
    assert len(server.asked) == 4
    assert all(asked and asked.startswith("bytes=") for asked in server.asked[1:])


def test_a_server_without_ranges_is_read_from_the_start_again(serve):
    server = serve(make_tar(), cuts=2, ranges=False)
    assert read(server.url) == CONTENTS
    assert len(server.asked) == 3


def test_an_archive_that_changes_meanwhile_is_refused(serve):
    server = serve(make_tar(), cuts=1)

    def progress(done, total):
        server.etag = '"two"'

    with pytest.raises(DataError, match="it changed while it was read; start again"):
        list(archive.read_members(server.url, lambda name: True, progress))


def test_the_environments_proxy_is_used(serve, monkeypatch):
    server = serve(make_tar())
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert read("http://nowhere.invalid/set.tar.gz") == CONTENTS


def test_a_page_that_is_not_there_is_refused(serve):
    with pytest.raises(DataError, match="the server answers 404; check the address"):
        read(serve(b"", status=404).url)


def test_a_server_that_stays_away_is_told(serve):
    server = serve(b"", status=503)
    with pytest.raises(StoreError, match=r"cannot be read .*503.*check the address and the network"):
        read(server.url)
    assert 2 <= len(server.asked) <= 4
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(StoreError, match="cannot be read"):
        read(url)

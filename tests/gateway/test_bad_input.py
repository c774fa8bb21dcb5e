"""What clients get wrong, and what is away: the right code, clear words, nothing kept by half."""

import base64
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from sqlalchemy import event, func, select

from serving.gateway.records.cursors import read_cursor, row_id
from serving.gateway.records.tables import Job, Photo
from stocktake.errors import BadRequest
from tests.encoded_photos import encode, png, smooth_picture
from tests.fixed_server import FixedServer
from tests.gateway_thread import grey_photo, shelf_photo
from tests.silent_server import silent_server

PNG = {"Content-Type": "image/png"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
BINS = {"task": "bins"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture
def client(gateway):
    with gateway.client() as client:
        yield client


def photos_in(gateway) -> int:
    with gateway.gateway.records.read() as session:
        return session.scalar(select(func.count(Photo.id))) or 0


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert list(answer.json()) == ["error"]
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 415), (b"\0" * 100, 415), (SVG, 415), (HTML, 415), (b"GIF89a" + b"\0" * 50, 415),
     (png(20_000, 20_000), 413), (shelf_photo()[:60], 415)],
    ids=["nothing", "zeros", "svg", "html", "gif", "huge", "cut"],
)  # fmt: skip
def test_files_that_are_no_photos(gateway, client, data, status):
    before = photos_in(gateway)
    for answer in (
        client.post("/api/photos", params=BINS, content=data, headers=PNG),
        client.post("/api/photos", data=BINS, files={"photo": ("a.png", data, "image/png")}),
    ):
        code, said = refused(answer)
        assert code == status
        assert "alert" not in said
    assert photos_in(gateway) == before


def test_a_photo_that_only_the_predictor_can_refuse(gateway, client):
    whole = encode(smooth_picture(400, 300), "JPEG")
    before = photos_in(gateway)
    code, said = refused(
        client.post(
            "/api/photos",
            params=BINS,
            content=whole[: len(whole) // 2],
            headers={"Content-Type": "image/jpeg"},
        )
    )
    assert (code, photos_in(gateway)) == (415, before)
    assert "jpeg" in said


def test_too_many_bytes(start_gateway):
    gateway = start_gateway(max_photo_bytes=50_000)
    with gateway.client() as client:
        announced = {**PNG, "Content-Length": str(200 << 20)}
        block = b"\0" * (1 << 20)
        answer = client.post("/api/photos?task=bins", content=(block for _ in range(200)), headers=announced)
        assert refused(answer) == (413, "the body is larger than 50,000 bytes; send fewer or smaller photos")

        def endless():
            for _ in range(100):
                yield b"\0" * 1000

        assert client.post("/api/photos?task=bins", content=endless(), headers=PNG).status_code == 413
        files = {"photo": ("a.png", b"\0" * 50_001, "image/png")}
        code, said = refused(client.post("/api/photos", data=BINS, files=files))
        assert (code, said) == (413, "field 'photo' is larger than 50,000 bytes")
        fields = {"task": "bins", "store": "x" * 20_000}
        assert client.post("/api/photos", data=fields, files={"photo": b""}).status_code == 413
        assert client.post("/api/photos", content=b"{" * 2_000_000, headers=JSON).status_code == 413
        assert client.post("/api/photos?task=bins", content=grey_photo(50), headers=PNG).status_code == 200


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"--x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        (b"nonsense", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "no multipart"),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "ends before"),
        (
            b"--x\r\nA: b\r\n\r\n\r\n--x--",
            {"Content-Type": "multipart/form-data; boundary=x"},
            400,
            "no name",
        ),
        (b"{", JSON, 400, "no JSON"),
        (b"[" * 60_000, JSON, 400, "no JSON"),
        (b"[]", JSON, 400, "no object"),
        (b'{"task": "bins"}', JSON, 400, "url: Field required"),
        (b'{"task": "bins", "url": "http://xn--a/"}', JSON, 400, "url: is no URL"),
        (b"", {"Content-Type": "text/html"}, 415, "Content-Type"),
        (b"", {**PNG, "Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (b"", {**PNG, "Idempotency-Key": "x" * 201}, 400, "idempotency-key"),
    ],
)
def test_bodies_that_cannot_be_read(client, content, headers, status, words):
    code, said = refused(client.post("/api/photos", params=BINS, content=content, headers=headers))
    assert code == status
    assert words.lower() in said.lower()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "task: Field required"),
        ({"task": "doors"}, "task: Input should be 'shelves' or 'bins'"),
        ({**BINS, "store": "a\0b"}, "store: has control characters; write plain text"),
        ({**BINS, "bay": "\u202egpj"}, "bay: has control characters; write plain text"),
        ({**BINS, "camera": "x" * 101}, "camera: String should have at most 100 characters"),
        (
            {**BINS, "expected_quantity": "-1"},
            "expected_quantity: Input should be greater",
        ),
        (
            {**BINS, "expected_quantity": str(2**31)},
            "expected_quantity: Input should be less",
        ),
        ({"task": "shelves", "expected_quantity": "1"}, "expected_quantity goes with task=bins only"),
        (
            {**BINS, "taken_at": "2026-01-01T00:00:00"},
            "taken_at: write a time with its zone, as 2026-01-31T12:00:00Z",
        ),
        ({**BINS, "taken_at": "1767225600"}, "taken_at: write a time"),
        ({**BINS, "taken_at": "2026-02-30T00:00:00Z"}, "taken_at: Input should be a valid datetime"),
        ({**BINS, "taken_at": "2999-01-01T00:00:00Z"}, "set the camera's, or leave it out"),
        ({**BINS, "taken_at": "1970-01-01T00:00:00Z"}, "set the camera's, or leave it out"),
        ({**BINS, "shop": "x"}, "shop: Extra inputs are not permitted"),
    ],
)
def test_fields_that_are_wrong(client, query, words):
    code, said = refused(client.post("/api/photos", params=query, content=grey_photo(50), headers=PNG))
    assert code == 400
    assert words in said


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/photos", "GET, POST"),
        ("PATCH", f"/api/photos/{'0' * 32}", "GET, DELETE"),
        ("DELETE", "/history", "GET"),
        ("POST", "/static/upload.js", "GET, HEAD"),
    ],
)
def test_methods_that_a_path_does_not_know(client, method, path, allowed):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_ends_of_the_calendar(client):
    for moment in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        assert client.get("/api/photos", params={"since": moment}).status_code == 400


def packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "MjAyNi0wMS0wMSBcMA==", "é", packed("[" * 800), packed("[" * 5000)]
)
@pytest.mark.parametrize("path", ["photos", "jobs", "alerts", "bays", "mismatches"])
def test_cursors_that_nobody_gave_out(client, path, cursor):
    code, said = refused(client.get(f"/api/{path}", params={"cursor": cursor}))
    assert code == 400
    assert said.startswith("cursor: ")


def test_a_cursor_that_is_nested_too_deep():
    with pytest.raises(BadRequest, match="cursor: not one that was given out"):
        read_cursor(packed("[" * 5000), row_id)


def test_file_names_are_only_names(gateway, client):
    for name, kept in {
        "../../../etc/passwd": "passwd", "C:\\Windows\\evil.png": "evil.png", "a\u202egpj.exe": "a_gpj.exe",
        "x" * 300: "x" * 255, "<img src=x onerror=alert(1)>.png": "<img src=x onerror=alert(1)>.png",
    }.items():  # fmt: skip
        files = {"photo": (name, grey_photo(50), "image/png")}
        said = client.post("/api/photos", data=BINS, files=files).json()
        assert said["name"] == kept
        answer = client.get(said["links"]["image"])
        assert answer.headers["content-type"] == "image/png"
        assert "<" not in answer.headers["content-disposition"]
    outside = [path for path in gateway.folder.rglob("*") if path.name in ("passwd", "evil.png")]
    assert outside == []


def test_markup_in_names_is_text(client):
    store = "<script>alert('x')</script>'; DROP TABLE photos; --"
    said = client.post("/api/photos", params={**BINS, "store": store}, content=grey_photo(50), headers=PNG)
    assert said.json()["store"] == store
    found = client.get("/api/photos", params={"store": store})
    assert found.headers["content-type"] == "application/json"
    assert [photo["store"] for photo in found.json()["items"]] == [store]


def test_tokens(gateway):
    with httpx.Client(base_url=gateway.url, timeout=60) as nobody:
        for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer wrong"},
                        {"Cookie": "stocktake_session=YWRtaW4.99999999999.00"}):  # fmt: skip
            answer = nobody.get("/api/photos", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert list(answer.json()) == ["error"]


def test_a_clashing_key(client):
    headers = {**PNG, "Idempotency-Key": "clash"}
    first = client.post("/api/photos", params=BINS, content=grey_photo(50), headers=headers).json()
    for query, data in ((BINS, grey_photo(60)), ({**BINS, "store": "other"}, grey_photo(50))):
        code, said = refused(client.post("/api/photos", params=query, content=data, headers=headers))
        assert code == 409
        assert first["job"] in said


def test_one_key_at_the_same_time(gateway, client):
    headers = {**PNG, "Idempotency-Key": "together"}

    def send(_):
        return client.post(
            "/api/photos", params={**BINS, "store": "together"}, content=grey_photo(90), headers=headers
        )

    with ThreadPoolExecutor(8) as pool:
        answers = [answer.json() for answer in pool.map(send, range(8))]
    assert len({answer["id"] for answer in answers}) == 1
    assert all(answer == answers[0] for answer in answers)
    with gateway.gateway.records.read() as session:
        assert session.scalar(select(func.count(Job.id)).where(Job.idempotency_key == "together")) == 1


def test_too_many_requests(start_gateway):
    gateway = start_gateway(requests_per_minute=3)
    with gateway.client("operator") as client, gateway.client("viewer") as other:
        answers = [client.get("/api/photos") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        assert other.get("/api/photos").status_code == 200


def test_a_predictor_that_is_down(start_gateway):
    gateway = start_gateway(bins_url="http://127.0.0.1:9")
    with gateway.client() as client:
        answer = client.post("/api/photos", params=BINS, content=grey_photo(50), headers=PNG)
        assert refused(answer) == (503, "bin-counter cannot be reached: ClientConnectorError")
        assert int(answer.headers["retry-after"]) >= 1
        assert photos_in(gateway) == 0
        assert client.get("/readyz").json() | {"bins": False, "ready": True} == client.get("/readyz").json()
        shelf = client.post("/api/photos", params={"task": "shelves"}, content=shelf_photo(), headers=PNG)
        assert shelf.status_code == 200


def test_predictors_are_asked_at_the_same_time(start_gateway):
    """Each says that it is ready once the other one is asked, too."""
    asked = threading.Barrier(2)

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(threading.BrokenBarrierError):
                asked.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        gateway = start_gateway(shelves_url=url, bins_url=url)
        with gateway.client() as client:
            parts = client.get("/readyz").json()
        asked.abort()
        server.shutdown()
    assert (parts["shelves"], parts["bins"]) == (True, True)


def test_a_predictor_that_is_slow(start_gateway):
    with silent_server() as (url, _):
        gateway = start_gateway(bins_url=url, deadline_s=0.5)
        with gateway.client() as client:
            answer = client.post("/api/photos", params=BINS, content=grey_photo(50), headers=PNG)
            assert refused(answer) == (504, "bin-counter did not answer in time")
            assert photos_in(gateway) == 0


def test_a_predictor_that_says_what_nobody_understands(start_gateway, redis):
    """As where a page to sign in at stands before it: a fault of nobody who asks, and the photo can wait."""
    with FixedServer() as server:
        with start_gateway(bins_url=server.url).client() as client:
            answer = client.post("/api/photos", params=BINS, content=grey_photo(50), headers=PNG)
            code, said = refused(answer)
            assert code == 503
            assert said.startswith("bin-counter answers what is not understood: ")
            assert int(answer.headers["retry-after"]) >= 1
        with start_gateway(bins_url=server.url, redis=redis.url).client() as client:
            answer = client.post("/api/photos", params=BINS, content=grey_photo(50), headers=PNG)
            assert (answer.status_code, answer.json()["state"]) == (202, "queued")
            metrics = client.get("/metrics").text
    (waiting_s,) = re.findall(r"^stocktake_gateway_oldest_photo_seconds (.*)$", metrics, re.MULTILINE)
    assert 0 < float(waiting_s) < 600


def test_a_store_that_takes_nothing(start_gateway, tmp_path):
    (tmp_path / "file").write_text("in the way")
    gateway = start_gateway(photos=str(tmp_path / "file" / "photos"))
    with gateway.client() as client:
        answer = refused(client.post("/api/photos", params=BINS, content=grey_photo(50), headers=PNG))
        assert answer == (503, "photos cannot be stored or read now")  # and not a word of where
        assert photos_in(gateway) == 0


@pytest.mark.parametrize("pragma", ["query_only=ON", "max_page_count=1"], ids=["read-only", "full"])
def test_records_that_take_nothing(start_gateway, pragma):
    gateway = start_gateway()
    engine = gateway.gateway.records.engine
    photo = encode(smooth_picture(64, 64), "PNG")

    def forbid(connection, _record):
        connection.execute(f"PRAGMA {pragma}")

    with gateway.client() as client:
        assert client.post("/api/photos", params=BINS, content=photo, headers=PNG).status_code == 200
        event.listen(engine, "connect", forbid)
        engine.dispose()
        said = {"task": "bins", "store": "x" * 100, "bay": "y" * 100}
        kept, status = photos_in(gateway), 200
        while status == 200:  # the last page has room for some
            status = client.post("/api/photos", params=said, content=photo, headers=PNG).status_code
            kept += status == 200
        assert status == 503
        assert photos_in(gateway) == kept
        event.remove(engine, "connect", forbid)
        engine.dispose()
        deadline = time.monotonic() + 60
        while client.post("/api/photos", params=BINS, content=photo, headers=PNG).status_code != 200:
            assert time.monotonic() < deadline

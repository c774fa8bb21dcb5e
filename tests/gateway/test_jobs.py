"""Jobs of many photos: written down and put into a real Redis; no worker takes them."""

import asyncio
import base64
import hashlib
import threading
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select

from serving.gateway.access import Role
from serving.gateway.answering import photo_key
from serving.gateway.records import photos
from serving.gateway.records.tables import Delivery, Photo, State
from serving.gateway.retention import expire
from tests.gateway_thread import GatewayThread, grey_photo, shelf_photo
from tests.redis_server import RedisServer

SECRET = "whsec_" + base64.b64encode(b"not a secret, but as long as one").decode()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def picture_folder(tmp_path_factory):
    """A photo, and something that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "bin.png").write_bytes(grey_photo(100))
    (folder / "page.html").write_text("<html>")
    return folder


@pytest.fixture(scope="module")
def pictures(picture_folder):
    """A web server with them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=picture_folder))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, redis, pictures):
    gateway = GatewayThread(
        tmp_path_factory.mktemp("gateway"), redis=redis.url, photo_hosts=pictures, private_hosts="localhost",
        bins_url="http://127.0.0.1:9", webhook_hosts="hooks.example", webhook_secret=SECRET, max_photos=5,
    ).start()  # fmt: skip
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def client(gateway):
    with gateway.client() as client:
        yield client


def held(redis_url: str) -> set[str]:
    from serving.gateway.queue import open_queue
    from serving.gateway.settings import load_gateway_settings

    async def look():
        async with open_queue(load_gateway_settings(redis=redis_url)) as queue:
            return await queue.held()

    return asyncio.run(look())


def files_of(*contents: bytes) -> list:
    return [("photos", (f"{number}.png", data, "image/png")) for number, data in enumerate(contents)]


def test_files(client, redis):
    said = {
        "task": "bins",
        "store": "dc",
        "bay": ["a", "b"],
        "expected_quantity": ["3", ""],
        "priority": "low",
    }
    answer = client.post("/api/jobs", data=said, files=files_of(grey_photo(150), grey_photo(200)))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["state"], job["photo_count"], job["priority"]) == ("queued", {"queued": 2}, "low")
    assert [(photo["bay"], photo["expected_quantity"]) for photo in job["photos"]] == [("a", 3), ("b", None)]
    assert [photo["name"] for photo in job["photos"]] == ["0.png", "1.png"]
    assert {photo["id"] for photo in job["photos"]} <= held(redis.url)
    assert client.get(job["links"]["self"]).json() == job
    assert client.get(job["photos"][0]["links"]["image"]).content == grey_photo(150)


def test_fields_after_the_files(client):
    fields = [("photos", ("a.png", grey_photo(50), "image/png")), ("task", (None, "bins"))]
    assert client.post("/api/jobs", files=fields).status_code == 202


def test_photos_of_a_store_that_is_not_theirs_are_refused_before_they_are_kept(gateway):
    token = gateway.token("guest", Role.OPERATOR, ["Main Street"])
    data = {"task": "bins", "store": ["Main Street", "Elsewhere"]}
    with gateway.client(token=token) as client:
        answer = client.post("/api/jobs", data=data, files=files_of(grey_photo(31), grey_photo(32)))
    assert answer.status_code == 403, answer.text
    kept = {path.read_bytes() for path in (gateway.folder / "photos").rglob("*") if path.is_file()}
    assert kept.isdisjoint({grey_photo(31), grey_photo(32)})


def test_a_file_that_is_no_photo_fails_alone(gateway, client):
    answer = client.post("/api/jobs", data={"task": "shelves"}, files=files_of(b"<svg/>", shelf_photo()))
    job = answer.json()
    assert answer.status_code == 202
    assert [photo["state"] for photo in job["photos"]] == ["failed", "queued"]
    assert "not a JPEG" in job["photos"][0]["error"]
    assert "image" not in job["photos"][0]["links"]


def test_a_job_without_a_photo_is_over_and_calls_back(gateway, client):
    data = {"task": "bins", "webhook": "https://hooks.example/done"}
    job = client.post("/api/jobs", data=data, files=files_of(b"none", b"")).json()
    assert job["state"] == "failed"
    assert job["finished_at"]
    with gateway.gateway.records.read() as session:
        assert session.scalars(select(Delivery.job_id)).all() == [job["id"]]


def test_a_photo_that_had_expired_comes_again(gateway, client):
    data = {"task": "bins", "store": "again"}
    first = client.post("/api/jobs", data=data, files=files_of(grey_photo(77))).json()["photos"][0]
    with gateway.gateway.records.write() as session:
        photos.give_up(session, first["id"], State.DEAD, "no predictor")
        session.get_one(Photo, first["id"]).received_at -= timedelta(days=100)
    expire(gateway.gateway.records, gateway.gateway.store, 90, 730)
    gone = client.get(first["links"]["image"])
    assert gone.status_code == 404
    assert "was deleted" in gone.json()["error"]
    again = client.post("/api/jobs", data=data, files=files_of(grey_photo(77))).json()["photos"][0]
    assert client.get(again["links"]["image"]).content == grey_photo(77)


def test_urls(client, pictures, redis):
    places = [{"url": f"http://{pictures}/{name}"} for name in ("bin.png", "page.html", "nothing.png")]
    places[0] |= {"expected_quantity": 2, "camera": "c9"}
    answer = client.post("/api/jobs", json={"task": "bins", "store": "dc", "photos": places})
    assert answer.status_code == 202, answer.text
    found = answer.json()["photos"]
    assert [photo["state"] for photo in found] == ["queued", "failed", "failed"]
    assert (found[0]["store"], found[0]["camera"], found[0]["expected_quantity"]) == ("dc", "c9", 2)
    assert found[2]["error"] == "url: its host answers 404; redirects are not followed"


def test_one_photo_by_url(client, pictures, redis):
    """Its predictor is away, so it is queued."""
    answer = client.post("/api/photos", json={"task": "bins", "url": f"http://{pictures}/bin.png"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.json()["name"] == "bin.png"
    assert answer.json()["id"] in held(redis.url)


def test_a_snapshot_is_known_by_its_url(client, picture_folder, pictures):
    """By the time that the answer was lost, the camera has another photo, or is off."""
    snapshot = picture_folder / "snapshot.png"
    snapshot.write_bytes(grey_photo(60))
    said = {"task": "bins", "url": f"http://{pictures}/snapshot.png"}
    key = {"Idempotency-Key": "snapshot"}
    first = client.post("/api/photos", json=said, headers=key)
    assert first.status_code == 202, first.text
    for change in (lambda: snapshot.write_bytes(grey_photo(61)), snapshot.unlink):
        change()
        again = client.post("/api/photos", json=said, headers=key)
        assert (again.status_code, again.json()) == (202, first.json())
    for other in (said | {"url": f"http://{pictures}/bin.png"}, said | {"store": "dc"}):
        assert client.post("/api/photos", json=other, headers=key).status_code == 409


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"task": "bins", "photos": []}, "photos: List should have at least 1 item"),
        ({"task": "bins", "photos": [{"url": "http://evil.example/x"}]}, "url: its host is not one"),
        ({"task": "bins", "photos": [{"url": "http://169.254.169.254/"}]}, "url: its host is not one"),
        ({"task": "bins", "photos": [{"url": "http://xn--a/"}]}, "url: is no URL"),
        ({"task": "bins", "photos": [{"url": "x", "taken_at": 1}] * 101}, "photos: List should have at most"),
        (
            {"task": "bins", "photos": [{"url": "http://a/b", "expected_quantity": "x"}]},
            "expected_quantity: ",
        ),
    ],
)
def test_urls_that_are_refused(client, said, words):
    answer = client.post("/api/jobs", json=said)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_webhooks_go_to_allowed_hosts(client):
    for url in (
        "http://localhost/", "http://169.254.169.254/", "https://evil.example/", "nonsense", "http://xn--a/",
    ):  # fmt: skip
        answer = client.post(
            "/api/jobs", data={"task": "bins", "webhook": url}, files=files_of(grey_photo(50))
        )
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("webhook: ")


def test_too_many_files(client):
    answer = client.post("/api/jobs", data={"task": "bins"}, files=files_of(*[grey_photo(50)] * 6))
    assert answer.status_code == 413
    data = {"task": "bins", "bay": ["a", "b"]}
    answer = client.post("/api/jobs", data=data, files=files_of(*[grey_photo(50)] * 3))
    assert answer.json() == {"error": "bay: given 2 times for 3 photos; give it once, or for each"}


def test_the_same_key_is_the_same_job(client):
    send = {"data": {"task": "bins"}, "headers": {"Idempotency-Key": "job"}}
    first = client.post("/api/jobs", files=files_of(grey_photo(50)), **send)
    again = client.post("/api/jobs", files=files_of(grey_photo(50)), **send)
    assert first.json()["id"] == again.json()["id"]
    assert client.post("/api/jobs", files=files_of(grey_photo(51)), **send).status_code == 409


def test_dead_photos_are_tried_again(gateway, client, redis):
    job = client.post("/api/jobs", data={"task": "bins"}, files=files_of(grey_photo(50))).json()
    (photo,) = job["photos"]
    with gateway.gateway.records.write() as session:
        photos.begin(session, photo["id"], 5)
        photos.give_up(session, photo["id"], State.DEAD, "no predictor")
    assert client.post(f"{job['links']['self']}/retry").status_code == 403
    with gateway.client("admin") as admin:
        assert admin.get(job["links"]["self"]).json()["state"] == "dead"
        answer = admin.post(f"{job['links']['self']}/retry")
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    with gateway.gateway.records.read() as session:
        assert session.get_one(Photo, photo["id"]).attempts == 0
    assert photo["id"] in held(redis.url)


def test_redis_that_is_away(gateway, client, redis, pictures):
    known = [
        {"data": {"task": "bins"}, "files": files_of(grey_photo(50)), "headers": {"Idempotency-Key": "away"}},
        {
            "json": {"task": "bins", "photos": [{"url": f"http://{pictures}/bin.png"}]},
            "headers": {"Idempotency-Key": "away by URL"},
        },
    ]
    taken = [client.post("/api/jobs", **send).json()["id"] for send in known]
    redis.kill()
    for send, job in zip(known, taken, strict=True):
        again = client.post("/api/jobs", **send)
        assert (again.status_code, again.json()["id"]) == (202, job), "what was taken needs no queue"
    other = grey_photo(51)
    answer = client.post("/api/jobs", **{**known[0], "files": files_of(other)})
    assert answer.status_code == 409
    assert not gateway.gateway.store.exists(photo_key(hashlib.sha256(other).hexdigest()))
    answer = client.post("/api/jobs", data={"task": "bins"}, files=files_of(grey_photo(50)))
    assert answer.status_code == 503
    assert answer.json()["error"] == "the queue cannot be reached: Redis does not answer"
    answer = client.post("/api/photos", data={"task": "bins"}, files={"photo": grey_photo(50)})
    assert answer.status_code == 202, "the records keep it, and a worker puts it into the queue later"
    assert client.get("/readyz").status_code == 200
    redis.start()


def test_a_full_queue(tmp_path, redis, client):
    folder = tmp_path / "gateway"
    folder.mkdir()
    gateway = GatewayThread(folder, redis=redis.url, max_waiting=1).start()
    with gateway.client() as small:
        answer = small.post("/api/jobs", data={"task": "bins"}, files=files_of(grey_photo(50)))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
    gateway.stop()

"""The API over real HTTP, with real records, photos and predictors."""

import base64
import csv
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier, BrokenBarrierError

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.gateway import pictures
from serving.gateway.access import Role
from serving.gateway.app import PICTURES_AT_ONCE
from serving.gateway.records.tables import Job, Photo, State, Task, now
from serving.gateway.routes import health
from tests.gateway_thread import grey_photo, shelf_photo

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def client(gateway):
    with gateway.client("operator") as client:
        yield client


@pytest.fixture(scope="module")
def shelf(client):
    """A photo of a shelf with one void, answered."""
    about = {"task": "shelves", "store": "Main Street", "bay": "7", "camera": "c1"}
    answer = client.post(
        "/api/photos", data=about, files={"photo": ("bay 7.png", shelf_photo(), "image/png")}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def pixels_of(answer: httpx.Response) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


def test_a_form_with_a_shelf(shelf):
    assert shelf["state"] == "done"
    assert (shelf["store"], shelf["bay"], shelf["camera"], shelf["name"]) == (
        "Main Street", "7", "c1", "bay 7.png",
    )  # fmt: skip
    assert (shelf["width"], shelf["height"], shelf["void_count"], shelf["attempts"]) == (128, 128, 1, 1)
    assert shelf["osa"] == shelf["report"]["osa"] < 1
    assert shelf["report"]["voids"][0]["tier"] == 2
    assert (shelf["model"], len(shelf["model_version"])) == ("shelf-detector", 12)
    assert shelf["taken_at"] == shelf["received_at"] <= shelf["answered_at"]


def test_a_raw_body_with_a_bin(client):
    query = {"task": "bins", "store": "dc", "expected_quantity": "3", "taken_at": "2026-01-02T03:04:05+01:00"}
    said = client.post("/api/photos", params=query, content=grey_photo(150), headers=PNG).json()
    assert (said["count"], said["verdict"], said["expected_quantity"]) == (3, "accept", 3)
    assert said["taken_at"] == "2026-01-02T02:04:05.000Z"
    assert "annotated" not in said["links"]


def test_what_was_answered_is_found_again(client, shelf):
    assert client.get(shelf["links"]["self"]).json() == shelf
    job = client.get(shelf["links"]["job"]).json()
    assert (job["state"], job["photo_count"]) == ("done", {"done": 1})
    assert [photo["id"] for photo in job["photos"]] == [shelf["id"]]
    found = client.get("/api/photos", params={"store": "Main Street", "bay": "7", "state": "done"}).json()
    assert shelf["id"] in [photo["id"] for photo in found["items"]]
    assert client.get("/api/photos", params={"store": "Main street"}).json() == {"items": [], "next": None}


def test_pages_follow_each_other(client):
    for number in range(5):
        query = {"task": "bins", "store": "pages", "taken_at": f"2026-01-0{number % 2 + 1}T00:00:00Z"}
        assert client.post("/api/photos", params=query, content=grey_photo(100), headers=PNG).is_success
    seen, cursor = [], None
    while True:
        page = client.get(
            "/api/photos", params={"store": "pages", "limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        seen += [(photo["taken_at"], photo["id"]) for photo in page.json()["items"]]
        if (cursor := page.json()["next"]) is None:
            break
    assert len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)
    since = client.get("/api/photos", params={"store": "pages", "since": "2026-01-02T00:00:00Z"}).json()
    assert len(since["items"]) == 2
    jobs = client.get("/api/jobs", params={"limit": 1}).json()
    assert len(jobs["items"]) == 1
    assert client.get("/api/jobs", params={"cursor": jobs["next"]}).json()["items"]


def test_a_table_of_photos(client):
    name = "=SUM(A1:A9)"
    files = {"photo": (name, grey_photo(50), "image/png")}
    assert client.post("/api/photos", data={"task": "bins", "store": "table"}, files=files).is_success
    answer = client.get("/api/photos.csv", params={"store": "table"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["store"], row["count"], row["name"]) == ("table", "1", "'=SUM(A1:A9)")


def test_the_picture_as_it_came(client, shelf):
    answer = client.get(shelf["links"]["image"])
    assert answer.content == shelf_photo()
    assert answer.headers["content-type"] == "image/png"
    assert "sandbox" in answer.headers["content-security-policy"]
    again = client.get(shelf["links"]["image"], headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_picture_painted(client, shelf):
    plain = pixels_of(client.get(shelf["links"]["image"], params={"width": 128}))
    painted = pixels_of(client.get(shelf["links"]["annotated"]))
    assert painted.shape == plain.shape == (128, 128, 3)
    x0, y0, x1, y1 = map(int, shelf["report"]["voids"][0]["box"])
    void = painted[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].mean((0, 1))
    assert void[0] > void[1] + 20, "red where it was black"
    small = pixels_of(client.get(shelf["links"]["annotated"] + "&width=64"))
    assert small.shape == (64, 64, 3)


def test_a_void_cut_out(client, shelf):
    crop = pixels_of(client.get(f"/api/photos/{shelf['id']}/voids/0.jpg"))
    assert crop.shape[0] <= 30
    assert crop[crop.shape[0] // 2, crop.shape[1] // 2].max() < 60, "the void is dark"
    missing = client.get(f"/api/photos/{shelf['id']}/voids/1.jpg")
    assert (missing.status_code, missing.json()) == (
        404, {"error": "the report of this photo has 1 voids, counted from 0"},
    )  # fmt: skip


def test_roles(gateway, shelf):
    with gateway.client("viewer") as viewer:
        assert viewer.get("/api/photos").status_code == 200
        refused = viewer.post("/api/photos", params={"task": "bins"}, content=b"", headers=PNG)
        assert (refused.status_code, refused.json()) == (
            403, {"error": "token 'viewer' is of role viewer; this needs operator"},
        )  # fmt: skip
    with gateway.client("operator") as operator:
        assert operator.delete(shelf["links"]["self"]).status_code == 403
        assert operator.get("/api/tokens").status_code == 403
    with gateway.client("admin") as admin:
        names = [token["name"] for token in admin.get("/api/tokens").json()["items"]]
        assert {"admin", "operator", "viewer"} <= set(names)


def test_a_token_of_one_store(gateway, client, shelf):
    other = client.post(
        "/api/photos", params={"task": "bins", "store": "north"}, content=grey_photo(50), headers=PNG
    )
    with gateway.client(token=gateway.token("north", Role.OPERATOR, ["north"])) as north:
        assert north.get(shelf["links"]["self"]).status_code == 404
        assert north.get(shelf["links"]["image"]).status_code == 404
        assert north.get(shelf["links"]["job"]).status_code == 404
        assert north.get(other.json()["links"]["job"]).status_code == 200
        assert {photo["store"] for photo in north.get("/api/photos").json()["items"]} == {"north"}
        assert "Main Street" not in north.get("/api/photos.csv").text
        refused = north.post("/api/photos", params={"task": "bins"}, content=grey_photo(50), headers=PNG)
        assert (refused.status_code, refused.json()) == (
            403, {"error": "token 'north' may submit photos of these stores only: north"},
        )  # fmt: skip


def test_the_same_key_gets_the_same_answer(gateway, client):
    send = {"params": {"task": "bins", "store": "twice"}, "content": grey_photo(100)}
    first = client.post("/api/photos", **send, headers={**PNG, "Idempotency-Key": "k1"})
    again = client.post("/api/photos", **send, headers={**PNG, "Idempotency-Key": "k1"})
    assert first.json() == again.json()
    assert len(client.get("/api/photos", params={"store": "twice"}).json()["items"]) == 1
    with gateway.client("admin") as somebody_else:
        theirs = somebody_else.post("/api/photos", **send, headers={**PNG, "Idempotency-Key": "k1"})
        assert theirs.json()["id"] != first.json()["id"]


def test_deleting_a_photo(gateway, client):
    send = {"params": {"task": "bins", "store": "gone"}, "headers": PNG}
    first, twin = (client.post("/api/photos", content=grey_photo(120), **send).json() for _ in range(2))
    with gateway.client("admin") as admin:
        assert admin.delete(first["links"]["self"]).status_code == 204
        assert admin.get(first["links"]["self"]).status_code == 404
        assert admin.get(first["links"]["job"]).status_code == 404
        assert admin.get(twin["links"]["image"]).content == grey_photo(120), "another photo is the same file"
        assert admin.delete(twin["links"]["self"]).status_code == 204
        assert admin.delete(twin["links"]["self"]).status_code == 404
    files = [path for path in (gateway.folder / "photos").rglob("*") if path.is_file()]
    assert grey_photo(120) not in [path.read_bytes() for path in files]


def test_headers_of_every_answer(client, shelf):
    for path in ("/api/photos", "/nowhere", shelf["links"]["image"]):
        headers = client.get(path, headers={"X-Request-Id": "mine"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src" in headers["content-security-policy"]
        assert headers["x-request-id"] == "mine"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    assert client.get("/api/photos").headers["cache-control"] == "no-store"


def test_health_and_metrics(gateway, shelf):
    with httpx.Client(base_url=gateway.url, timeout=60) as nobody:
        assert nobody.get("/healthz").json() == {"live": True}
        parts = {"records": True, "photos": True, "shelves": True, "bins": True, "queue": None}
        assert nobody.get("/readyz").json() == {"ready": True, **parts}
        text = nobody.get("/metrics").text
    assert 'stocktake_gateway_requests_total{code="200",method="POST",route="/api/photos"}' in text
    assert 'stocktake_gateway_photos{state="queued"} 0.0' in text
    assert "Main Street" not in text


def test_prometheus_is_answered_while_the_records_hang(start_gateway, server_url, postgres, monkeypatch):
    monkeypatch.setattr(health, "COUNT_S", 0.5)
    gateway = start_gateway(database=server_url)
    with closing(postgres.connect(server_url.rpartition("/")[2])) as other, gateway.client() as client:
        with other.cursor() as cursor:
            cursor.execute(f"begin; lock table {Photo.__tablename__} in access exclusive mode")
        assert "stocktake_gateway_queue_length NaN" in client.get("/metrics").text
        with other.cursor() as cursor:
            cursor.execute("rollback")
        assert client.get("/metrics").status_code == 200


def test_a_webhook_is_shown_without_its_secrets(gateway):
    about = {"task": Task.SHELVES, "sha256": "0" * 64, "size": 1, "width": 8, "height": 8, "format": "png"}
    photo = Photo(**about, state=State.FAILED, answered_at=now())
    url = "https://hooks.example/done/path-secret?token=query-secret"
    job = Job(owner="cam", task=Task.SHELVES, webhook=url, photos=[photo], finished_at=now())
    with gateway.gateway.records.write() as session:
        session.add(job)
    for role in ("viewer", "admin"):
        with gateway.client(role) as client:
            assert client.get(f"/api/jobs/{job.id}").json()["webhook"] == "hooks.example"
            for path in ("/api/jobs", f"/api/jobs/{job.id}", f"/api/jobs/{job.id}/events"):
                said = client.get(path).text
                assert job.id in said
                assert "secret" not in said


def test_pictures_wait_for_their_turn_before_their_photo_is_read(gateway, shelf, monkeypatch):
    store, turns = gateway.gateway.store, Barrier(PICTURES_AT_ONCE)
    held, most = [], []
    get, draw = type(store).get, pictures.draw

    def counted_get(self, *asked):
        held.append(threading.get_ident())
        most.append(len(held))
        with suppress(BrokenBarrierError):  # until as many as may are here, or a moment has gone
            turns.wait(5)
        return get(self, *asked)

    def counted_draw(*asked, **how):
        held.pop()
        return draw(*asked, **how)

    monkeypatch.setattr(type(store), "get", counted_get)
    monkeypatch.setattr(pictures, "draw", counted_draw)
    with gateway.client("viewer") as client, ThreadPoolExecutor(3 * PICTURES_AT_ONCE) as pool:
        paths = [f"{shelf['links']['image']}?width={16 + number}" for number in range(3 * PICTURES_AT_ONCE)]
        assert {answer.status_code for answer in pool.map(client.get, paths)} == {200}
    assert max(most) <= PICTURES_AT_ONCE


def test_jobs_need_a_queue(client):
    answer = client.post("/api/jobs", json={"task": "bins", "photos": [{"url": "http://a/b"}]})
    assert answer.status_code == 503
    assert "STOCKTAKE_GATEWAY_REDIS" in answer.json()["error"]


def test_errors_have_one_form(client):
    for answer in (client.get("/api/nowhere"), client.put("/api/photos"), client.get("/api/photos?limit=0")):
        assert 400 <= answer.status_code < 500
        assert list(answer.json()) == ["error"]
    assert client.get("/api/photos?limit=zero").json()["error"].startswith("limit: ")
    assert client.get("/api/photos?stroe=x").json() == {"error": "stroe: Extra inputs are not permitted"}


def test_no_documentation_from_elsewhere(client):
    assert client.get("/docs").status_code == 404
    assert client.get("/api/docs").status_code == 404
    assert json.loads(client.get("/api/openapi.json").text)["info"]["title"] == "stocktake"


def test_a_camera_whose_clock_is_ahead_may_ask_again(client):
    ahead = (datetime.now(UTC) + timedelta(minutes=5)).isoformat(timespec="seconds")
    send = {"params": {"task": "bins", "taken_at": ahead}, "content": grey_photo(101)}
    first, again = (
        client.post("/api/photos", **send, headers={**PNG, "Idempotency-Key": "ahead"}) for _ in range(2)
    )
    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert first.json()["taken_at"] == first.json()["received_at"]


def test_cursors_that_nobody_gave_out(client):
    cursor = base64.urlsafe_b64encode(json.dumps(["\ud800", ""]).encode()).decode()
    assert client.get("/api/bays", params={"cursor": cursor}).status_code == 400

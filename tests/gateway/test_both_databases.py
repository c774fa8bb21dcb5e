"""What PostgreSQL does not take and SQLite would is refused before either is asked, with the same answer."""

import contextlib

import pytest

from serving.gateway.records import alerts, history
from serving.gateway.records.cursors import write_cursor
from serving.gateway.records.database import Records
from tests.gateway_pages import Visitor

NUL, LONG = "a\0b", "x" * 3000
CURSORS = {  # by the list that they are none of
    "/api/photos": [write_cursor("2026-01-01", NUL), write_cursor(0, "0" * 32), write_cursor("0" * 32)],
    "/api/jobs": [write_cursor(NUL, "0" * 32)],
    "/api/alerts": [NUL, write_cursor(1.0, NUL), write_cursor("1", "0" * 32), write_cursor(1e300, "0" * 32)],
    "/api/bays": [write_cursor(NUL, "A1"), write_cursor("A1"), write_cursor(1, 2)],
    "/api/mismatches": [NUL, write_cursor("accept", 0.5, "0" * 32), write_cursor("ask", 0.5, NUL)],
}


@pytest.fixture
def client(start_gateway, database):
    with start_gateway(database=database).client("admin") as client:
        yield client


def test_the_border(client):
    for path, cursors in CURSORS.items():
        for cursor in cursors:
            answer = client.get(path, params={"cursor": cursor})
            assert (answer.status_code, answer.json()["error"][:7]) == (400, "cursor:"), (path, cursor)
        for text in (NUL, LONG):
            assert client.get(path, params={"store": text}).status_code == 400
    for path in ("/api/photos", "/api/jobs", "/api/alerts"):
        for row_id in ("a%00b", LONG, "%00" * 32, "0" * 32 + "%0A"):
            assert client.get(f"{path}/{row_id}").status_code == 400
        assert client.get(f"{path}/{'0' * 32}").status_code == 404


def test_ids_that_come_another_way(database):
    records = Records(database)
    records.migrate()
    with records.read() as session:
        for find in (history.find_job, history.find_photo, alerts.find_alert):
            for row_id in (NUL, LONG, "", "é"):
                assert find(session, row_id) is None
    records.close()


def test_pages(start_gateway, database):
    visitor = Visitor(start_gateway(database=database))
    for path in ("/photos/%s", "/photos/%s/row", "/jobs/%s"):
        for row_id in ("a%00b", LONG, "%00" * 32):
            visitor.page(path % row_id, 404)
    for path in ("/history?cursor=%s", "/history?store=%s", "/bins?cursor=%s", "/bays?cursor=%s"):
        visitor.page(path % "a%00b", 400)
    for path in ("/history?verdict=%s", "/alerts?verdict=%s", "/jobs?cursor=%s"):
        assert visitor.http.get(path % "a%00b").status_code < 500


def test_a_database_that_is_too_busy(start_gateway, database, monkeypatch):
    gateway = start_gateway(database=database)
    engine = gateway.gateway.records.engine
    monkeypatch.setattr(engine.pool, "_timeout", 0.1)
    with gateway.client() as client:
        with contextlib.ExitStack() as taken:
            for _ in range(engine.pool.size() + engine.pool._max_overflow):
                taken.enter_context(engine.connect())
            answer = client.get("/api/photos")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.json() == {"error": "too many requests wait for the records; try again"}
        assert client.get("/api/photos").status_code == 200

"""Server-sent events of a job, over real HTTP."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import delete

from serving.gateway.access import Role
from serving.gateway.records import photos
from serving.gateway.records.tables import Job, Photo, State, Task, now
from tests.gateway_thread import GatewayThread


def add_job(gateway, count: int, **fields) -> Job:
    size = {"size": 9, "width": 30, "height": 20, "format": "jpeg", "sha256": "0" * 64}
    places = [Photo(place=place, task=Task.SHELVES, **size, **fields) for place in range(count)]
    job = Job(owner="operator", task=Task.SHELVES, photos=places)
    with gateway.gateway.records.write() as session:
        session.add(job)
    return job


def end(gateway, photo: Photo, state: State = State.FAILED) -> None:
    with gateway.gateway.records.write() as session:
        assert photos.give_up(session, photo.id, state, "no photo")


def follow(client, job: Job, last: str | None = None) -> Iterator[tuple[str, str, dict]]:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"/api/jobs/{job.id}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line and "data" in fields:
                yield fields["event"], fields["id"], json.loads(fields["data"])
                fields = {}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Without a predictor: what is answered here, the tests answer."""
    gateway = GatewayThread(tmp_path_factory.mktemp("gateway")).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def client(gateway):
    with gateway.client("viewer") as client:
        yield client


def test_photos_come_as_they_are_answered(gateway, client):
    job = add_job(gateway, 3)
    first, second, third = job.photos
    end(gateway, second)
    events = follow(client, job)
    assert next(events)[2]["id"] == second.id
    for photo in (third, first):
        end(gateway, photo)
        name, _, data = next(events)
        assert (name, data["id"], data["state"]) == ("photo", photo.id, "failed")
    name, event_id, data = next(events)
    assert (name, event_id, data["id"], data["state"]) == ("job", "end", job.id, "failed")
    assert list(events) == []


def test_who_comes_back_gets_what_followed(gateway, client):
    job = add_job(gateway, 250)
    for photo in reversed(job.photos):
        end(gateway, photo)
    told = list(follow(client, job))
    assert [data["id"] for _, _, data in told[:-1]] == [photo.id for photo in reversed(job.photos)]
    assert list(follow(client, job, last=told[99][1])) == told[100:]
    assert list(follow(client, job, last=told[-2][1])) == told[-1:]
    over = client.get(f"/api/jobs/{job.id}/events", headers={"Last-Event-ID": "end"})
    assert (over.status_code, over.content) == (204, b"")


def test_nothing_is_missed_where_clocks_differ(gateway, client):
    job = add_job(gateway, 3)
    with gateway.gateway.records.write() as session:  # by a worker whose clock is ahead
        photos.give_up(session, job.photos[0].id, State.FAILED, "no photo")
        session.get_one(Photo, job.photos[0].id).answered_at = now() + timedelta(hours=1)
    events = follow(client, job)
    assert next(events)[2]["id"] == job.photos[0].id
    for photo in job.photos[1:]:
        end(gateway, photo)
        assert next(events)[2]["id"] == photo.id


def test_a_dead_photo_that_is_tried_again_is_told_of_again(gateway, client):
    job = add_job(gateway, 2)
    for photo in job.photos:
        end(gateway, photo, State.DEAD)
    last = list(follow(client, job))[-2][1]
    with gateway.gateway.records.write() as session:
        assert photos.revive(session, job.photos[0].id)
    events = follow(client, job, last="end")  # the job goes on: all of it again
    assert next(events)[2]["id"] == job.photos[1].id
    end(gateway, job.photos[0])
    assert [data["id"] for _, _, data in events] == [job.photos[0].id, job.id]
    assert [data["id"] for _, _, data in follow(client, job, last)] == [job.photos[0].id, job.id]


def test_a_client_that_goes_gives_its_place_free(gateway, client):
    places = gateway._server.config.app.state.followers
    before = places._value
    job = add_job(gateway, 2)
    end(gateway, job.photos[0])
    events = follow(client, job)
    next(events)
    assert places._value == before - 1
    events.close()
    deadline = time.monotonic() + 60
    while places._value != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_that_is_deleted_ends_its_events(gateway, client):
    job = add_job(gateway, 2)
    end(gateway, job.photos[0])
    events = follow(client, job)
    next(events)
    threading.Timer(0.1, delete_job, (gateway, job)).start()
    assert list(events) == []


def delete_job(gateway, job: Job) -> None:
    with gateway.gateway.records.write() as session:
        session.execute(delete(Job).where(Job.id == job.id))


@pytest.mark.parametrize("last", ["x", "-1", "1e9", "99999999999999999999", "²"])
def test_an_id_that_was_not_given_out(gateway, client, last):
    job = add_job(gateway, 1)
    headers = {"Last-Event-ID": last.encode()}
    answer = client.get(f"/api/jobs/{job.id}/events", headers=headers)
    assert answer.status_code == 400
    assert "ast-event-id" in answer.json()["error"].lower()


def test_a_job_of_another_store(gateway):
    job = add_job(gateway, 1, store="North")
    with gateway.client(token=gateway.token("south", Role.VIEWER, ["South"])) as client:
        assert client.get(f"/api/jobs/{job.id}/events").status_code == 404
    with gateway.client() as client:
        assert client.get(f"/api/jobs/{'0' * 32}/events").status_code == 404

"""Jobs and photos in a real SQLite file."""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Delivery, Job, Photo, State, Table, Task
from stocktake.errors import SettingsError

SHELF = {"products": 1, "tiers": 1, "osa": 0.5, "voids": [{"box": [0, 0, 9, 9]}]}


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


def add_job(records: Records, count: int = 1, **fields) -> Job:
    job = Job(owner="cam", task=Task.SHELVES, **fields)
    for place in range(count):
        size = {"size": 9, "width": 30, "height": 20, "format": "jpeg"}
        job.photos.append(Photo(place=place, task=Task.SHELVES, sha256=f"{place:064}", **size))
    with records.write() as session:
        session.add(job)
    return job


def finish(records: Records, photo_id: str, osa: float = 0.5) -> Photo | None:
    with records.write() as session:
        return photos.finish(session, photo_id, {**SHELF, "osa": osa}, [], "shelf-detector", "abc")


def test_migrations_make_the_tables(records):
    with records.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_the_last_photo_ends_the_job_and_calls_back(records):
    job = add_job(records, 2, webhook="https://example.com/done")
    first, second = (photo.id for photo in job.photos)
    assert finish(records, first)
    with records.read() as session:
        assert session.get_one(Job, job.id).finished_at is None
    with records.write() as session:
        assert photos.give_up(session, second, State.FAILED, "not a photo")
    with records.read() as session:
        assert session.get_one(Job, job.id).finished_at
        assert session.scalars(select(Delivery.url)).all() == ["https://example.com/done"]


def test_the_first_answer_stands(records):
    (photo,) = add_job(records).photos
    answers = [0.1 * number for number in range(8)]
    kept = []
    threads = [
        threading.Thread(target=lambda osa=osa: kept.append(finish(records, photo.id, osa)))
        for osa in answers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = filter(None, kept)
    with records.read() as session:
        assert session.get_one(Photo, photo.id).osa == winner.osa
    with records.write() as session:
        assert photos.begin(session, photo.id) is None


def test_a_dead_photo_comes_back(records):
    (photo,) = add_job(records).photos
    with records.write() as session:
        assert photos.revive(session, photo.id) is None
        photos.begin(session, photo.id)
        photos.give_up(session, photo.id, State.DEAD, "no predictor")
    with records.write() as session:
        revived = photos.revive(session, photo.id)
        assert (revived.state, revived.attempts, revived.error) == (State.QUEUED, 0, None)
        assert revived.job.finished_at is None


def test_what_fails_half_way_leaves_nothing(records):
    job = Job(owner="cam", task=Task.BINS, idempotency_key="same")
    twin = Job(owner="cam", task=Task.BINS, idempotency_key="same")
    with pytest.raises(IntegrityError), records.write() as session:
        session.add_all((job, twin))
    with records.read() as session:
        assert session.scalars(select(Job)).all() == []


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x"])
def test_a_url_that_is_none(url):
    with pytest.raises(SettingsError, match="STOCKTAKE_GATEWAY_DATABASE"):
        Records(url)

"""Jobs and photos in a real SQLite file, and in a real PostgreSQL."""

import contextlib
import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, select, text
from sqlalchemy.exc import DataError, IntegrityError

from serving.gateway.errors import Unavailable
from serving.gateway.model_answers import Answer
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Delivery, Job, Photo, State, Table, Task
from stocktake.errors import SettingsError

SHELF = {"products": 1, "tiers": 1, "osa": 0.5, "voids": [{"box": [0, 0, 9, 9]}]}


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
        return photos.finish(session, photo_id, Answer({**SHELF, "osa": osa}, [], "shelf-detector", "abc"))


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


def test_photos_that_end_in_one_transaction_end_their_job(records):
    job = add_job(records, 3)
    with records.write() as session:
        ended = [photos.give_up(session, photo.id, State.FAILED, "not a photo") for photo in job.photos]
        times = [photo.answered_at for photo in ended]
        assert times == sorted(set(times))
    with records.read() as session:
        assert session.get_one(Job, job.id).finished_at


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
        assert photos.begin(session, photo.id, 5) is None


def test_a_dead_photo_comes_back(records):
    (photo,) = add_job(records).photos
    with records.write() as session:
        assert photos.revive(session, photo.id) is None
        photos.begin(session, photo.id, 5)
        photos.give_up(session, photo.id, State.DEAD, "no predictor")
    with records.write() as session:
        revived = photos.revive(session, photo.id)
        assert (revived.state, revived.attempts, revived.error) == (State.QUEUED, 0, None)
        assert revived.job.finished_at is None


def test_an_attempt_is_counted_in_one_statement(records):
    (photo,) = add_job(records).photos
    statements = []
    event.listen(records.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    with records.write() as session:
        begun = photos.begin(session, photo.id, 5)
        assert (begun.state, begun.attempts, begun.sha256) == (State.RUNNING, 1, photo.sha256)
    assert [said.split()[0] for said in statements if said != "BEGIN IMMEDIATE"] == ["UPDATE"]


def test_a_photo_whose_worker_dies_over_it_is_given_up_and_comes_back(records):
    job = add_job(records)
    (photo,) = job.photos
    for attempts in (1, 2):
        with records.write() as session:
            assert photos.begin(session, photo.id, 3).attempts == attempts
    with pytest.raises(photos.Suspected), records.write() as session:
        photos.begin(session, photo.id, 3)
    with records.write() as session:
        assert photos.begin(session, photo.id, 3, alone=True).attempts == 3
    with records.write() as session:
        assert photos.begin(session, photo.id, 3) is None
    with records.write() as session:
        given_up = session.get_one(Photo, photo.id)
        assert (given_up.state, given_up.attempts) == (State.DEAD, 3)
        assert given_up.error == "its worker died while answering, at attempt 3 of 3"
        assert given_up.job.finished_at
        photos.revive(session, photo.id)
        assert photos.begin(session, photo.id, 3).attempts == 1


def test_what_fails_half_way_leaves_nothing(records):
    job = Job(owner="cam", task=Task.BINS, idempotency_key="same")
    twin = Job(owner="cam", task=Task.BINS, idempotency_key="same")
    with pytest.raises(IntegrityError), records.write() as session:
        session.add_all((job, twin))
    with records.read() as session:
        assert session.scalars(select(Job)).all() == []


def test_a_server_that_is_away():
    records = Records("postgresql+psycopg://somebody@127.0.0.1:9/records")
    with pytest.raises(Unavailable, match="cannot be reached"), records.read() as session:
        session.scalars(select(Photo)).all()
    records.close()


def test_a_server_that_is_slow_or_at_fault(server_url):
    records = Records(f"{server_url}?options=-c%20statement_timeout%3D200")
    with pytest.raises(Unavailable, match="QueryCanceled"), records.read() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    fault = "DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$"
    with pytest.raises(Unavailable, match="InternalError"), records.write() as session:
        session.execute(text(fault))
    ended = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(Unavailable, match="cannot be reached"), records.read() as session:
        session.execute(text(ended))
    with records.read() as session:
        assert session.scalar(text("SELECT 1")) == 1
    records.close()


def test_no_statement_takes_for_ever(server_url):
    records = Records(server_url)
    with records.read() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "30s"
    records.close()


def test_one_of_several_servers_is_there(postgres, server_url):
    """Hosts are in the query, as SQLAlchemy has it; poolers refuse options of a connection."""
    login, name = server_url.partition("@")[0], server_url.rpartition("/")[2]
    records = Records(f"{login}@/{name}?host=127.0.0.1:9&host=127.0.0.1:{postgres.port}&connect_timeout=7")
    with records.read() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "30s"
        given = session.connection().connection.dbapi_connection.info.get_parameters()
    assert given["connect_timeout"] == "7"
    assert "options" not in given
    records.close()


def test_more_threads_than_connections(records, monkeypatch):
    monkeypatch.setattr(records.engine.pool, "_timeout", 0.1)
    with contextlib.ExitStack() as taken:
        for _ in range(records.engine.pool.size() + records.engine.pool._max_overflow):
            taken.enter_context(records.engine.connect())
        with pytest.raises(Unavailable, match="too many requests wait") as refusal, records.read() as session:
            session.connection()
    assert refusal.value.retry_after_s > 0
    with records.read() as session:
        assert session.scalars(select(Photo)).all() == []


def test_what_one_database_does_not_hold(server_url):
    records = Records(server_url)
    records.migrate()
    for values in ({"store": "a\0b"}, {"camera": "x" * 101}, {"expected_quantity": 2**31}):
        size = {"size": 9, "width": 30, "height": 20, "format": "jpeg", "sha256": "0" * 64}
        photo = Photo(task=Task.SHELVES, **size, **values)
        with pytest.raises(DataError), records.write() as session:
            session.add(Job(owner="cam", task=Task.SHELVES, photos=[photo]))
    with pytest.raises(DataError), records.read() as session:
        session.get(Photo, "\0")
    records.close()


def test_a_writer_that_never_ends(tmp_path):
    """SQLite: who waits too long for another one is told so."""
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    event.listen(records.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA busy_timeout=100"))
    with (
        records.write(),
        pytest.raises(Unavailable, match="cannot be reached or written"),
        records.write() as session,
    ):
        session.flush()
    records.close()


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x"])
def test_a_url_that_is_none(url):
    with pytest.raises(SettingsError, match="STOCKTAKE_GATEWAY_DATABASE"):
        Records(url)


def test_several_programs_make_the_tables_at_once(tmp_path):
    code = """
import sys
from serving.gateway.records.database import Records
records = Records(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
records.migrate()
"""
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/records.db"]
    with contextlib.ExitStack() as stack:
        all_of_them = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(3)
        ]
        for each in all_of_them:
            assert each.stdout.readline() == "ready\n"
        for each in all_of_them:
            each.stdin.write("\n")
            each.stdin.flush()
        assert [each.wait(120) for each in all_of_them] == [0, 0, 0]

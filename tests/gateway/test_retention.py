"""What is deleted when its time is over, in both databases and a real store."""

import asyncio
import dataclasses
import os
import threading
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import event, insert, select

from serving.gateway import commands, intake
from serving.gateway.answering import photo_key
from serving.gateway.deleting import delete_photo
from serving.gateway.events import is_over
from serving.gateway.gateway import open_gateway
from serving.gateway.records import history, photos
from serving.gateway.records.tables import Delivery, Feedback, Job, Photo, State, Task, now
from serving.gateway.retention import Expired, expire
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import StoreError
from stocktake.folder_store import FolderStore

DAYS = {"retention_days": 90, "record_days": 730}


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "photos")


def add_photo(records, store, age_days: int, name: str, state: State = State.DONE) -> str:
    """A photo whose file is its name."""
    sha256 = name.encode().hex().ljust(64, "0")
    store.put(photo_key(sha256), name.encode())
    photo = Photo(
        task=Task.SHELVES, sha256=sha256, size=9, width=30, height=20, format="jpeg", state=state, name=name,
        received_at=now() - timedelta(days=age_days),
    )  # fmt: skip
    with records.write() as session:
        session.add(Job(owner="cam", task=Task.SHELVES, photos=[photo]))
    return photo.id


def files_of(store) -> set[bytes]:
    return {store.get(item.key) for item in store.list()}


def test_files_go_first_and_records_later(records, store):
    new = add_photo(records, store, 89, "new")
    old = add_photo(records, store, 91, "old")
    ancient = add_photo(records, store, 731, "ancient")
    add_photo(records, store, 800, "waits", State.QUEUED)
    with records.write() as session:
        session.add(Feedback(photo_id=ancient, verdict="count", count=3, by="anna"))
    assert expire(records, store, **DAYS) == Expired(photos=2, files=2, records=1, jobs=1)
    assert files_of(store) == {b"new", b"waits"}
    with records.read() as session:
        left = {photo.id: photo for photo in session.scalars(select(Photo))}
        assert left[old].expired_at is not None
        assert left[new].expired_at is None
        assert ancient not in left
        assert session.scalars(select(Feedback)).all() == []
        assert len(session.scalars(select(Job)).all()) == 3
    assert expire(records, store, **DAYS) == Expired()


def test_a_file_stays_as_long_as_one_photo_needs_it(records, store):
    add_photo(records, store, 91, "same")
    add_photo(records, store, 1, "same")
    assert expire(records, store, **DAYS) == Expired(photos=1)
    assert files_of(store) == {b"same"}


@pytest.mark.parametrize("by", ["expire", "delete"])
@pytest.mark.parametrize("at_hand", [True, False])
def test_a_file_is_deleted_while_the_same_photo_comes_in(records, store, by, at_hand):
    first = add_photo(records, store, 91, "same")  # its bytes are those that came in
    with records.read() as session:
        digest = session.get_one(Photo, first).sha256
    again = Photo(task=Task.SHELVES, sha256=digest, size=9, width=30, height=20, format="jpeg")
    job = Job(owner="cam", task=Task.SHELVES, webhook="https://example.com/done", photos=[again])
    url = records.url.render_as_string(hide_password=False)

    async def come_in():
        settings = load_gateway_settings(database=url, photos=store.uri, redis=None)
        async with open_gateway(settings) as gateway:
            if by == "expire":
                expire(records, store, **DAYS)
            else:
                delete_photo(records, store, first)
            assert files_of(store) == set()
            await intake.keep(gateway, job, {digest: b"same"} if at_hand else {})

    asyncio.run(come_in())
    with records.read() as session:
        kept = session.get_one(Photo, again.id)
        assert (kept.state, kept.error) == ((State.QUEUED, None) if at_hand else (State.FAILED, intake.GONE))
        assert (kept.job.finished_at is None) == at_hand
    assert files_of(store) == ({b"same"} if at_hand else set())


def test_a_job_ends_when_its_last_open_photo_is_deleted(records, store):
    done, waits = (
        Photo(task=Task.SHELVES, sha256=str(place) * 64, size=9, width=30, height=20, format="jpeg",
              state=state, place=place)
        for place, state in enumerate((State.DONE, State.QUEUED))
    )  # fmt: skip
    job = Job(owner="cam", task=Task.SHELVES, webhook="https://example.com/done", photos=[done, waits])
    with records.write() as session:
        session.add(job)
    assert not is_over(records, job.id)
    delete_photo(records, store, waits.id)
    assert is_over(records, job.id)
    with records.read() as session:
        assert session.scalars(select(Delivery.job_id)).all() == [job.id]
        assert history.find_job(session, job.id).state == State.DONE
    delete_photo(records, store, done.id)
    with records.read() as session:
        assert session.scalars(select(Job)).all() == []


def test_photos_of_a_job_are_answered_and_deleted_at_once(records, store):
    job = Job(owner="cam", task=Task.SHELVES)
    for place in range(24):
        size = {"size": 9, "width": 30, "height": 20, "format": "jpeg", "sha256": f"{place:064}"}
        job.photos.append(Photo(place=place, task=Task.SHELVES, **size))
    with records.write() as session:
        session.add(job)

    def finish(photo_id: str) -> None:
        with records.write() as session:
            assert photos.give_up(session, photo_id, State.FAILED, "no photo")

    delete = partial(delete_photo, records, store)
    calls = [partial(delete if place % 2 else finish, photo.id) for place, photo in enumerate(job.photos)]
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result(timeout=60)
    assert is_over(records, job.id)


def put_stray(store, name: str, age_days: float) -> str:
    """A file that a request has left which was refused in the end."""
    sha256 = name.encode().hex().ljust(64, "0")
    store.put(photo_key(sha256), name.encode())
    put_at = time.time() - age_days * 24 * 3600
    os.utime(store.url(photo_key(sha256)), (put_at, put_at))
    return sha256


def test_files_that_no_record_names_go_after_a_day(records, store):
    for name in ("kept", "over"):
        add_photo(records, store, 91 if name == "over" else 1, name)
    expire(records, store, **DAYS)
    for name, age_days in {
        "kept": 2,
        "over": 2,
        "new": 0.9,
        **{f"stray {n}": 1.1 for n in range(45)},
    }.items():
        put_stray(store, name, age_days)
    store.put("photos/other/file", b"of somebody else")
    os.utime(store.url("photos/other/file"), (0, 0))
    assert expire(records, store, **DAYS) == Expired(strays=46), "that of an expired photo, too"
    assert files_of(store) == {b"kept", b"new", b"of somebody else"}


def test_files_stay_where_the_records_may_be_those_of_another_store(records, store):
    put_stray(store, "stray", 2)
    assert expire(records, store, **DAYS) == Expired()
    assert files_of(store) == {b"stray"}


class PairingStore(FolderStore):
    """Looks at two files side by side, or at none."""

    pair = threading.Barrier(2, timeout=60)

    def exists(self, key):
        self.pair.wait()
        return super().exists(key)


def test_files_of_a_job_are_looked_for_side_by_side(records, store):
    digests = [put_stray(store, name, 0) for name in ("one", "other")]
    size = {"size": 9, "width": 30, "height": 20, "format": "jpeg"}
    found = [
        Photo(place=place, task=Task.SHELVES, sha256=digest, **size) for place, digest in enumerate(digests)
    ]
    url = records.url.render_as_string(hide_password=False)

    async def come_in():
        settings = load_gateway_settings(database=url, photos=store.uri, redis=None)
        async with open_gateway(settings) as gateway:
            pairing = dataclasses.replace(gateway, store=PairingStore(store.root))
            return await intake.keep(pairing, Job(owner="cam", task=Task.SHELVES, photos=found), {})

    job = asyncio.run(come_in())
    assert [photo.state for photo in job.photos] == [State.QUEUED] * 2


class BusyStore(FolderStore):
    """Where all photos come in again while one looks."""

    def list(self, prefix=""):
        for found in super().list(prefix):
            self.put(found.key, self.get(found.key))
            yield found


def test_a_file_that_comes_in_again_stays(records, store):
    add_photo(records, store, 1, "kept")
    put_stray(store, "again", 2)
    assert expire(records, BusyStore(store.root), **DAYS) == Expired()
    assert files_of(store) == {b"kept", b"again"}


def test_many_at_once(records, store):
    for number in range(45):
        add_photo(records, store, 91, f"photo {number}")
    assert expire(records, store, **DAYS) == Expired(photos=45, files=45)
    assert files_of(store) == set()


def test_what_expired_before_costs_nothing_for_each_file(records, store):
    if not records.is_sqlite:
        pytest.skip("SQLite alone says how much it has done")
    long_ago = now() - timedelta(days=100)
    with records.write() as session:
        job = Job(owner="cam", task=Task.SHELVES)
        session.add(job)
        session.flush()
        columns = {
            "job_id": job.id, "task": Task.SHELVES, "size": 9, "width": 3, "height": 2, "format": "png",
            "state": State.DONE, "received_at": long_ago, "expired_at": now(),
        }  # fmt: skip
        gone = [columns | {"place": place, "sha256": f"{place:064}"} for place in range(5000)]
        session.execute(insert(Photo), gone)
    for number in range(40):
        add_photo(records, store, 91, f"photo {number}")
    thousands = []
    event.listen(
        records.engine,
        "checkout",
        lambda connection, *_: connection.set_progress_handler(lambda: thousands.append(1), 1000),
    )
    assert expire(records, store, **DAYS).files == 40
    assert 10 < len(thousands) < 10 * 40, "thousands of steps; they pass by all 5000 records in some 40"


class LockedStore(FolderStore):
    """Where nothing can be deleted."""

    def delete(self, key):
        raise StoreError("read-only")


def test_what_cannot_be_deleted_is_in_the_next_run(records, store):
    add_photo(records, store, 91, "old")
    with pytest.raises(StoreError):
        expire(records, LockedStore(store.root), **DAYS, failures=1)
    assert expire(records, store, **DAYS) == Expired(photos=1, files=1)


class HeldStore(FolderStore):
    """Where one file is under a legal hold."""

    def delete(self, key):
        if self.get(key) == b"held":
            raise StoreError("AccessDenied")
        super().delete(key)


@pytest.mark.parametrize("kind", ["photo", "stray"])
def test_a_file_that_is_never_deleted_keeps_no_other_one(records, store, kind):
    add_photo(records, store, 1, "kept")
    for name in ("before", "held", "behind"):
        if kind == "photo":
            add_photo(records, store, 91, name)
        else:
            put_stray(store, name, 2)
    with pytest.raises(StoreError, match="1 files cannot be deleted, the last one so: AccessDenied"):
        expire(records, HeldStore(store.root), **DAYS)
    assert files_of(store) == {b"kept", b"held"}
    left = expire(records, store, **DAYS)
    assert (left.files, left.strays) == ((1, 0) if kind == "photo" else (0, 1))


def test_the_command(records, store, monkeypatch, capsys):
    add_photo(records, store, 91, "old")
    url = records.url.render_as_string(hide_password=False)
    monkeypatch.setenv("STOCKTAKE_GATEWAY_DATABASE", url)
    monkeypatch.setenv("STOCKTAKE_GATEWAY_PHOTOS", store.uri)
    commands.expire(load_gateway_settings(), Namespace())
    assert capsys.readouterr().out == (
        "deleted 1 files of 1 photos older than 90 days, 0 photos and 0 jobs older than 730 days, "
        "and 0 files of no photo\n"
    )

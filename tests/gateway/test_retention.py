"""What is deleted when its time is over, in both databases and a real store."""

from argparse import Namespace
from datetime import timedelta

import pytest
from sqlalchemy import select

from serving.gateway import commands
from serving.gateway.answering import photo_key
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Feedback, Job, Photo, State, Task, now
from serving.gateway.retention import Expired, expire
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import StoreError
from stocktake.folder_store import FolderStore

DAYS = {"retention_days": 90, "record_days": 730}


@pytest.fixture
def records(database):
    records = Records(database)
    records.migrate()
    yield records
    records.close()


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


def test_the_same_photo_comes_again(records, store):
    first = add_photo(records, store, 91, "same")
    expire(records, store, **DAYS)
    with records.read() as session:
        digest = session.get_one(Photo, first).sha256
    again = Photo(task=Task.SHELVES, sha256=digest, size=9, width=30, height=20, format="jpeg")
    with records.write() as session:
        assert photos.add(session, Job(owner="cam", task=Task.SHELVES, photos=[again])) == {digest}


def test_many_at_once(records, store):
    for number in range(45):
        add_photo(records, store, 91, f"photo {number}")
    assert expire(records, store, **DAYS) == Expired(photos=45, files=45)
    assert files_of(store) == set()


class LockedStore(FolderStore):
    """Where nothing can be deleted."""

    def delete(self, key):
        raise StoreError("read-only")


def test_what_cannot_be_deleted_is_in_the_next_run(records, store):
    add_photo(records, store, 91, "old")
    with pytest.raises(StoreError):
        expire(records, LockedStore(store.root), **DAYS)
    assert expire(records, store, **DAYS) == Expired(photos=1, files=1)


def test_the_command(records, store, monkeypatch, capsys):
    add_photo(records, store, 91, "old")
    url = records.url.render_as_string(hide_password=False)
    monkeypatch.setenv("STOCKTAKE_GATEWAY_DATABASE", url)
    monkeypatch.setenv("STOCKTAKE_GATEWAY_PHOTOS", store.uri)
    commands.expire(load_gateway_settings(), Namespace())
    said = "deleted 1 files of 1 photos older than 90 days, and 0 photos and 0 jobs older than 730 days\n"
    assert capsys.readouterr().out == said

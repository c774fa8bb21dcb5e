"""What is deleted when its time is over: files of photos first, much later what was found on them."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import add

from sqlalchemy import ColumnElement, delete, select, text
from sqlalchemy.orm import Session

from serving.gateway.answering import PHOTOS, digest_at, photo_key
from serving.gateway.records import alerts
from serving.gateway.records.database import Records
from serving.gateway.records.photos import end_jobs
from serving.gateway.records.tables import OVER, Job, Photo, now
from stocktake.errors import StoreError
from stocktake.storage import Store

logger = logging.getLogger(__name__)

AT_ONCE = 20  # records in one transaction, for which others wait
LOOKED_UP = 500  # photos, or files whose photos, are looked for in one query
LONGEST_PAUSE_S = 0.2  # for others, after a transaction: who waits for SQLite looks every .1 s
FAILURES = 6  # of the store in a row, with pauses of 1, 2, 4, … s between them, and a run ends
COMES_IN = timedelta(days=1)  # that a request has from its first file to its record


@dataclass(frozen=True, slots=True)
class Expired:
    """What one run has deleted."""

    photos: int = 0  # whose files are gone and whose reports are kept
    files: int = 0  # fewer, where photos are the same
    records: int = 0  # photos of which nothing is left
    jobs: int = 0  # that had no photo left
    strays: int = 0  # files of no photo: of requests that were refused, or broke off, after they were put

    def __add__(self, other: "Expired") -> "Expired":
        return Expired(*map(add, astuple(self), astuple(other)))


def expire(
    records: Records, store: Store, retention_days: int, record_days: int, failures: int = FAILURES
) -> Expired:
    """Delete files of photos that came in more than `retention_days` ago, and records after `record_days`.

    Also files that no record names, a day after they came. While there is no record at all they stay: the
    records may be those of another store.

    `store`: one that soon fails, since nobody adds a photo while it deletes one; `gateway.open_photos`. While
    it is away others have the records to themselves, and it is asked again until it has failed `failures`
    times in a row.

    Photos that are not answered yet are left alone. May be run at any time, as often as one likes, and beside
    gateways and workers.

    Raises:
        StoreError, Unavailable: something cannot be deleted now; what was not deleted is in the next run.
    """
    done, failed = Expired(), 0
    while True:
        try:
            for step in _expire(records, store, retention_days, record_days):
                done, failed = done + step, 0
            return done
        except StoreError as error:
            failed += 1
            if failed >= failures:
                raise
            pause = 2 ** (failed - 1)
            logger.warning("%s; failure %d of %d, tried again in %d s", error, failed, failures, pause)
            time.sleep(pause)


def _expire(records: Records, store: Store, retention_days: int, record_days: int) -> Iterator[Expired]:
    """Delete what is left to be deleted; yields what each transaction has deleted."""
    old = Photo.received_at < now() - timedelta(days=retention_days)
    unneeded = Photo.received_at < now() - timedelta(days=record_days)
    yield from _expire_files(records, store, old)
    while True:
        with _by_turns(records) as session:
            found = select(Photo).where(unneeded, Photo.state.in_(OVER)).limit(AT_ONCE)
            photos = session.scalars(found).all()
            jobs = delete_records(session, photos)
        if not photos:
            break
        yield Expired(records=len(photos), jobs=jobs)
    yield from _forget_strays(records, store)


def _expire_files(records: Records, store: Store, old: ColumnElement[bool]) -> Iterator[Expired]:
    """Delete files of photos that are `old`: all that are to go are found before others are kept out.

    The query goes through all photos that have lost their files, up to `record_days` of them.
    """
    due = (old, Photo.expired_at.is_(None), Photo.state.in_(OVER))
    while True:
        with records.read() as session:
            found = session.scalars(select(Photo.id).where(*due).limit(LOOKED_UP)).all()
        if not found:
            return
        for photo_id in found:
            with _by_turns(records) as session:  # for each file, since others wait for the store, too
                photos = session.scalars(select(Photo).where(Photo.id == photo_id, *due)).all()
                files = forget_files(session, store, photos)
            yield Expired(photos=len(photos), files=files)


def delete_photo(records: Records, store: Store, photo_id: str) -> None:
    """Delete a photo, its file and all that was found on it or said about it, whatever its age."""
    with records.write() as session:
        _keep_others_out(session, records)
        photos = session.scalars(select(Photo).where(Photo.id == photo_id)).all()
        forget_files(session, store, photos)
        delete_records(session, photos)


def forget_files(session: Session, store: Store, photos: Sequence[Photo]) -> int:
    """Delete the files of photos that no other photo needs; returns how many."""
    for photo in photos:
        photo.expired_at = photo.expired_at or now()
    session.flush()
    digests = _unneeded(session, {photo.sha256 for photo in photos})
    for digest in digests:
        store.delete(photo_key(digest))
    return len(digests)


def _unneeded(session: Session, digests: set[str]) -> set[str]:
    """Those of which no photo needs the file."""
    needed = select(Photo.sha256).where(Photo.sha256.in_(digests), Photo.expired_at.is_(None))
    return digests - set(session.scalars(needed))


def _forget_strays(records: Records, store: Store) -> Iterator[Expired]:
    """Delete files that no photo needs."""
    before = datetime.now(UTC) - COMES_IN
    for digest in _find_strays(records, store, before):
        deleted = 0
        with _by_turns(records) as session:
            for key in map(photo_key, _unneeded(session, {digest})):
                stray = store.stat(key)
                if stray and stray.put_at < before:  # not put again meanwhile
                    store.delete(key)
                    deleted = 1
        yield Expired(strays=deleted)


def _find_strays(records: Records, store: Store, before: datetime) -> Iterator[str]:
    """Digests of files that were put earlier than that, and that no photo needs."""
    with records.read() as session:
        if session.scalar(select(Photo.id).limit(1)) is None:
            return
    old = (digest_at(file.key) for file in store.list(PHOTOS) if file.put_at < before)
    digests = filter(None, old)
    while some := set(islice(digests, LOOKED_UP)):
        with records.read() as session:
            strays = _unneeded(session, some)
        yield from strays


def delete_records(session: Session, photos: Sequence[Photo]) -> int:
    """Delete photos, and jobs that have none left; returns how many; others may be over by that."""
    jobs = {photo.job_id for photo in photos}
    alerts.forget_photos(session, [photo.id for photo in photos])
    session.execute(delete(Photo).where(Photo.id.in_([photo.id for photo in photos])))
    left = set(session.scalars(select(Photo.job_id).where(Photo.job_id.in_(jobs))))
    session.execute(delete(Job).where(Job.id.in_(jobs - left)))
    end_jobs(session, left)
    return len(jobs - left)


@contextmanager
def _by_turns(records: Records) -> Iterator[Session]:
    """A transaction that keeps others out, and then a pause as long, in which one who waits gets in."""
    with records.write() as session:
        _keep_others_out(session, records)
        began = time.monotonic()
        yield session
    time.sleep(min(time.monotonic() - began, LONGEST_PAUSE_S))


def _keep_others_out(session: Session, records: Records) -> None:
    """Nobody adds a photo while files are deleted, or its file could be one of them. In SQLite that is so.

    Nor may anybody lock one: who has, and then waits for this lock to write, could hold what is needed here.
    """
    if not records.is_sqlite:
        session.execute(text("LOCK TABLE photos IN EXCLUSIVE MODE"))

"""Deleting photos, their files, and what was found on them, while others add and answer photos."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from serving.gateway.answering import photo_key
from serving.gateway.records import alerts
from serving.gateway.records.database import Records
from serving.gateway.records.photos import end_jobs
from serving.gateway.records.tables import Job, Photo, now
from stocktake.storage import Store

LONGEST_PAUSE_S = 0.2  # for others, after a transaction: who waits for SQLite looks every .1 s


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
    digests = unneeded(session, {photo.sha256 for photo in photos})
    for digest in digests:
        store.delete(photo_key(digest))
    return len(digests)


def unneeded(session: Session, digests: set[str]) -> set[str]:
    """Those of which no photo needs the file."""
    needed = select(Photo.sha256).where(Photo.sha256.in_(digests), Photo.expired_at.is_(None))
    return digests - set(session.scalars(needed))


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
def by_turns(records: Records) -> Iterator[Session]:
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

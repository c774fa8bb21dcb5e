"""What is deleted when its time is over: files of photos first, much later what was found on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from serving.gateway.answering import PHOTOS, digest_at, photo_key
from serving.gateway.records import alerts
from serving.gateway.records.database import Records
from serving.gateway.records.photos import end_jobs
from serving.gateway.records.tables import OVER, Job, Photo, now
from stocktake.storage import Store

AT_ONCE = 20  # records in one transaction, for which others wait
LOOKED_UP = 500  # files whose photos are looked for in one query
COMES_IN = timedelta(days=1)  # that a request has from its first file to its record


@dataclass(frozen=True, slots=True)
class Expired:
    """What one run has deleted."""

    photos: int = 0  # whose files are gone and whose reports are kept
    files: int = 0  # fewer, where photos are the same
    records: int = 0  # photos of which nothing is left
    jobs: int = 0  # that had no photo left
    strays: int = 0  # files of no photo: of requests that were refused, or broke off, after they were put


def expire(records: Records, store: Store, retention_days: int, record_days: int) -> Expired:
    """Delete files of photos that came in more than `retention_days` ago, and records after `record_days`.

    Also files that no record names, a day after they came. While there is no record at all they stay: the
    records may be those of another store.

    `store`: one that soon fails, since nobody adds a photo while it deletes one; `gateway.open_photos`.

    Photos that are not answered yet are left alone. May be run at any time, as often as one likes, and beside
    gateways and workers.

    Raises:
        StoreError, Unavailable: something cannot be deleted now; what was not deleted is in the next run.
    """
    done = Expired()
    old = Photo.received_at < now() - timedelta(days=retention_days)
    unneeded = Photo.received_at < now() - timedelta(days=record_days)
    while True:
        with records.write() as session:  # for each file, since others wait for the store, too
            _keep_others_out(session, records)
            found = select(Photo).where(old, Photo.expired_at.is_(None), Photo.state.in_(OVER)).limit(1)
            photos = session.scalars(found).all()
            files = forget_files(session, store, photos)
        if not photos:
            break
        done = replace(done, photos=done.photos + len(photos), files=done.files + files)
    while True:
        with records.write() as session:
            _keep_others_out(session, records)
            found = select(Photo).where(unneeded, Photo.state.in_(OVER)).limit(AT_ONCE)
            photos = session.scalars(found).all()
            jobs = delete_records(session, photos)
        if not photos:
            break
        done = replace(done, records=done.records + len(photos), jobs=done.jobs + jobs)
    return replace(done, strays=_forget_strays(records, store))


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


def _forget_strays(records: Records, store: Store) -> int:
    """Delete files that no photo needs; returns how many."""
    before, deleted = datetime.now(UTC) - COMES_IN, 0
    found = _find_strays(records, store, before)
    for digest in found:
        with records.write() as session:
            _keep_others_out(session, records)
            for key in map(photo_key, _unneeded(session, {digest})):
                stray = store.stat(key)
                if stray and stray.put_at < before:  # not put again meanwhile
                    store.delete(key)
                    deleted += 1
    return deleted


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


def _keep_others_out(session: Session, records: Records) -> None:
    """Nobody adds a photo while files are deleted, or its file could be one of them. In SQLite that is so.

    Nor may anybody lock one: who has, and then waits for this lock to write, could hold what is needed here.
    """
    if not records.is_sqlite:
        session.execute(text("LOCK TABLE photos IN EXCLUSIVE MODE"))

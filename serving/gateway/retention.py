"""What is deleted when its time is over: files of photos first, much later what was found on them."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import add

from sqlalchemy import ColumnElement, select

from serving.gateway.answering import PHOTOS, digest_at, photo_key
from serving.gateway.deleting import by_turns, delete_records, forget_files, unneeded
from serving.gateway.records.database import Records
from serving.gateway.records.tables import OVER, Photo, now
from stocktake.errors import StoreError
from stocktake.storage import Store

logger = logging.getLogger(__name__)

AT_ONCE = 20  # records in one transaction, for which others wait
LOOKED_UP = 500  # photos, or files whose photos, are looked for in one query
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
    times in a row. A file that it does not delete, since it is locked perhaps, is passed over, and tried once
    more when the others are gone.

    Photos that are not answered yet are left alone. May be run at any time, as often as one likes, and beside
    gateways and workers.

    Raises:
        StoreError, Unavailable: something cannot be deleted now; what was not deleted is in the next run.
    """
    done = Expired()
    for _ in (1, 2):
        passed: dict[str, StoreError] = {}
        for step in _ride_over(records, store, retention_days, record_days, failures, passed):
            done += step
        if not passed:
            return done
    last = list(passed.values())[-1]
    raise StoreError(f"{len(passed)} files cannot be deleted, the last one so: {last}") from last


def _ride_over(
    records: Records,
    store: Store,
    retention_days: int,
    record_days: int,
    failures: int,
    passed: dict[str, StoreError],
) -> Iterator[Expired]:
    """Delete what is left to be deleted but for what is `passed`, and go on after failures of the store."""
    failed = 0
    while True:
        try:
            for step in _expire(records, store, retention_days, record_days, passed):
                yield step
                failed = 0
            return
        except StoreError as error:
            failed += 1
            if failed >= failures:
                raise
            pause = 2 ** (failed - 1)
            logger.warning("%s; failure %d of %d, tried again in %d s", error, failed, failures, pause)
            time.sleep(pause)


def _expire(
    records: Records, store: Store, retention_days: int, record_days: int, passed: dict[str, StoreError]
) -> Iterator[Expired]:
    """Delete what is left to be deleted; yields what each transaction has deleted.

    `passed`: photos and digests whose files could not be deleted, which are left out; gets what cannot now.
    """
    old = Photo.received_at < now() - timedelta(days=retention_days)
    unneeded = Photo.received_at < now() - timedelta(days=record_days)
    yield from _expire_files(records, store, old, passed)
    while True:
        with by_turns(records) as session:
            found = select(Photo).where(unneeded, Photo.state.in_(OVER)).limit(AT_ONCE)
            photos = session.scalars(found).all()
            jobs = delete_records(session, photos)
        if not photos:
            break
        yield Expired(records=len(photos), jobs=jobs)
    yield from _forget_strays(records, store, passed)


def _expire_files(
    records: Records, store: Store, old: ColumnElement[bool], passed: dict[str, StoreError]
) -> Iterator[Expired]:
    """Delete files of photos that are `old`: all that are to go are found before others are kept out.

    The queries go through all photos that have lost their files, up to `record_days` of them.
    """
    due = (old, Photo.expired_at.is_(None), Photo.state.in_(OVER))
    after = ""
    while True:
        page = select(Photo.id).where(*due, Photo.id > after).order_by(Photo.id).limit(LOOKED_UP)
        with records.read() as session:
            found = session.scalars(page).all()
        if not found:
            return
        after = found[-1]
        for photo_id in found:
            if photo_id in passed:
                continue
            # for each file, since others wait for the store, too
            with _passing_over(photo_id, passed), by_turns(records) as session:
                photos = session.scalars(select(Photo).where(Photo.id == photo_id, *due)).all()
                files = forget_files(session, store, photos)
            yield Expired(photos=len(photos), files=files)


@contextmanager
def _passing_over(name: str, passed: dict[str, StoreError]) -> Iterator[None]:
    """Note what the store fails at, so that it is not the first thing to be tried again."""
    try:
        yield
    except StoreError as error:
        passed[name] = error
        raise


def _forget_strays(records: Records, store: Store, passed: dict[str, StoreError]) -> Iterator[Expired]:
    """Delete files that no photo needs."""
    before = datetime.now(UTC) - COMES_IN
    for digest in _find_strays(records, store, before):
        if digest in passed:
            continue
        deleted = 0
        with _passing_over(digest, passed), by_turns(records) as session:
            for key in map(photo_key, unneeded(session, {digest})):
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
            strays = unneeded(session, some)
        yield from strays

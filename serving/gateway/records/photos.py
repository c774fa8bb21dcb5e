"""A photo's way through the records: begun by whoever comes, ended once."""

from collections.abc import Collection
from datetime import timedelta

import httpx
from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from serving.gateway.model_answers import Answer
from serving.gateway.records.tables import OVER, Delivery, Job, Photo, State, Task, now

TICK = timedelta(microseconds=1)
DEATHS = 2  # of workers over a photo, after which it is suspected


def add(session: Session, job: Job) -> None:
    """Add a job with its photos, whose bytes are in the store already.

    Raises:
        IntegrityError: the owner has a job of this idempotency key.
    """
    is_over = all(photo.state in OVER for photo in job.photos)
    if is_over:
        job.finished_at = now()
    session.add(job)
    session.flush()
    if is_over and job.webhook is not None:
        session.add(_delivery(job.id, job.webhook))


class Suspected(Exception):
    """Workers have died while they answered this photo, perhaps because of another one beside it."""


def begin(session: Session, photo_id: str, attempts: int, alone: bool = False) -> Photo | None:
    """Count an attempt at a photo, in one statement, since it is made for each.

    Returns:
        None where there is nothing to do: it is over, deleted, or was begun `attempts` times. The last is the
        photo whose worker dies over it, and cannot say so: it is given up here.

    Raises:
        Suspected: begin it `alone`, with no other photo at work beside it; no attempt is counted.
    """
    query = (
        update(Photo)
        .where(Photo.id == photo_id, Photo.state.not_in(OVER), Photo.attempts < attempts)
        .values(state=State.RUNNING, attempts=Photo.attempts + 1)
        .returning(Photo)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if not alone:
        query = query.where(or_(Photo.state != State.RUNNING, Photo.attempts < DEATHS))
    if photo := session.scalar(query):
        return photo
    if photo := _open_photo(session, photo_id):
        if photo.attempts < attempts:
            raise Suspected
        died = f"its worker died while answering, at attempt {photo.attempts} of {attempts}"
        reason = photo.error if photo.state == State.QUEUED and photo.error else died
        give_up(session, photo_id, State.DEAD, reason)
    return None


def finish(session: Session, photo_id: str, answer: Answer) -> Photo | None:
    """Keep what was found on a photo; None where an answer is kept already, which stands."""
    photo = _open_photo(session, photo_id)
    if photo is None:
        return None
    fill(photo, answer)
    _end(session, photo, State.DONE)
    return photo


def fill(photo: Photo, answer: Answer) -> None:
    """Write what was found on a photo into its columns."""
    report = photo.report = answer.report
    photo.products, photo.statistics = answer.products, answer.measures
    photo.model, photo.model_version = answer.model, answer.version
    if photo.task == Task.SHELVES:
        photo.osa, photo.void_count = report["osa"], len(report["voids"])
    else:
        photo.count = report["count"]
        photo.match_probability, photo.verdict = report.get("match_probability"), report.get("verdict")


def give_up(session: Session, photo_id: str, state: State, reason: str) -> Photo | None:
    """End a photo without an answer, as FAILED or DEAD; None where it is over already."""
    photo = _open_photo(session, photo_id)
    if photo:
        photo.error = reason
        _end(session, photo, state)
    return photo


def put_back(session: Session, photo_id: str, reason: str, counts: bool = True) -> None:
    """An attempt failed, and another will be made; not `counts`: it was none, since nobody looked at it."""
    if photo := _open_photo(session, photo_id):
        photo.state, photo.error = State.QUEUED, reason
        photo.attempts -= not counts


def revive(session: Session, photo_id: str) -> Photo | None:
    """Let a photo that was given up be tried again; None where it is not one."""
    photo = session.get(Photo, photo_id, with_for_update=True)
    if photo is None or photo.state != State.DEAD:
        return None
    photo.state, photo.error, photo.attempts, photo.answered_at = State.QUEUED, None, 0, None
    photo.job.finished_at = None
    return photo


def lock_photo(session: Session, photo_id: str) -> bool:
    """Let nobody delete a photo until the transaction ends; False where somebody has."""
    query = select(Photo.id).where(Photo.id == photo_id)
    return session.scalar(query.with_for_update(read=True, key_share=True)) is not None


def end_jobs(session: Session, job_ids: Collection[str]) -> None:
    """End jobs that wait for nothing any more, since their last open photos were deleted."""
    waits = exists().where(Photo.job_id == Job.id, Photo.state.not_in(OVER))
    over = select(Job).where(Job.id.in_(job_ids), Job.finished_at.is_(None), ~waits)
    for job in session.scalars(over.with_for_update()):
        _close(session, job)


def _open_photo(session: Session, photo_id: str) -> Photo | None:
    photo = session.get(Photo, photo_id, with_for_update=True, populate_existing=True)
    return None if photo is None or photo.state in OVER else photo


def _end(session: Session, photo: Photo, state: State) -> None:
    """The last photo of a job ends the job; two last ones wait for each other at the job's row.

    Nobody sees a photo of a job with an earlier `answered_at` than one seen already, whatever the clocks say.
    """
    with session.no_autoflush:  # all that is new of the photo is written once
        job = session.get_one(Job, photo.job_id, with_for_update=True, populate_existing=True)
        of_job = Photo.job_id == job.id
        others = exists().where(of_job, Photo.answered_at.is_(None), Photo.id != photo.id)
        newest = select(func.max(Photo.answered_at)).where(of_job).scalar_subquery()
        others_wait, last = session.execute(select(others, newest)).one()
    photo.state = state
    if state == State.DONE:
        photo.error = None
    photo.answered_at = max(now(), last + TICK) if last else now()
    session.flush()
    if not others_wait:
        _close(session, job)


def _close(session: Session, job: Job) -> None:
    """A job whose dead photos were tried again is told of once more."""
    job.finished_at = now()
    if job.webhook is None:
        return
    delivery = session.scalar(select(Delivery).where(Delivery.job_id == job.id).with_for_update())
    if delivery is None:
        session.add(_delivery(job.id, job.webhook))
    else:
        delivery.next_at, delivery.attempts, delivery.delivered_at = now(), 0, None


def _delivery(job_id: str, url: str) -> Delivery:
    return Delivery(job_id=job_id, url=url, host=httpx.URL(url).netloc.decode())

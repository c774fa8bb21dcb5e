"""A photo's way through the records: begun by whoever comes, ended once."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from serving.gateway.records.tables import OVER, Delivery, Job, Photo, State, Task, now


def begin(session: Session, photo_id: str) -> Photo | None:
    """Count an attempt at a photo; None where it is over or deleted: then there is nothing to do."""
    photo = _open_photo(session, photo_id)
    if photo:
        photo.state = State.RUNNING
        photo.attempts += 1
    return photo


def finish(
    session: Session,
    photo_id: str,
    report: dict[str, Any],
    products: list[list[float]] | None,
    model: str,
    version: str,
) -> Photo | None:
    """Keep what was found on a photo; None where an answer is kept already, which stands."""
    photo = _open_photo(session, photo_id)
    if photo is None:
        return None
    photo.report, photo.products = report, products
    photo.model, photo.model_version = model, version
    if photo.task == Task.SHELVES:
        photo.osa, photo.void_count = report["osa"], len(report["voids"])
    else:
        photo.count = report["count"]
        photo.match_probability, photo.verdict = report.get("match_probability"), report.get("verdict")
    _end(session, photo, State.DONE)
    return photo


def give_up(session: Session, photo_id: str, state: State, reason: str) -> Photo | None:
    """End a photo without an answer, as FAILED or DEAD; None where it is over already."""
    photo = _open_photo(session, photo_id)
    if photo:
        photo.error = reason
        _end(session, photo, state)
    return photo


def put_back(session: Session, photo_id: str, reason: str) -> None:
    """An attempt failed, and another will be made."""
    if photo := _open_photo(session, photo_id):
        photo.state, photo.error = State.QUEUED, reason


def revive(session: Session, photo_id: str) -> Photo | None:
    """Let a photo that was given up be tried again; None where it is not one."""
    photo = session.get(Photo, photo_id, with_for_update=True)
    if photo is None or photo.state != State.DEAD:
        return None
    photo.state, photo.error, photo.attempts, photo.answered_at = State.QUEUED, None, 0, None
    photo.job.finished_at = None
    return photo


def _open_photo(session: Session, photo_id: str) -> Photo | None:
    photo = session.get(Photo, photo_id, with_for_update=True, populate_existing=True)
    return None if photo is None or photo.state in OVER else photo


def _end(session: Session, photo: Photo, state: State) -> None:
    """The last photo of a job ends the job; two last ones wait for each other at the job's row."""
    job = session.get_one(Job, photo.job_id, with_for_update=True, populate_existing=True)
    photo.state, photo.answered_at = state, now()
    if state == State.DONE:
        photo.error = None
    session.flush()
    still = select(func.count()).where(Photo.job_id == job.id, Photo.state.not_in(OVER))
    if session.scalar(still) == 0:
        job.finished_at = now()
        if job.webhook and not session.scalar(select(Delivery.id).where(Delivery.job_id == job.id)):
            session.add(Delivery(job_id=job.id, url=job.webhook))

"""What becomes of a job, as it happens: its photos in the order in which they were answered, then the job.

Read from the records, again and again, so that it works without Redis, whoever answers. The id of an event is
the moment of the answer, in microseconds, which is another one for each photo of a job; who comes back with
it gets what followed.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from anyio import to_thread
from sqlalchemy import select

from serving.gateway.records import history
from serving.gateway.records.database import Records
from serving.gateway.records.history import JobSummary
from serving.gateway.records.tables import Job, Photo
from serving.gateway.views import JobOverview, PhotoSummary
from stocktake.errors import BadRequest

QUICK_S, SLOW_S = 0.2, 2.0  # between two looks: where something happens, and where nothing does
AT_ONCE = 100  # photos read in one look
LONGEST_S = 3600.0  # after which the client comes back with the last id it has
END = "end"  # id of the last event
FIRST = datetime(1970, 1, 1)  # UTC without a zone, as all times of the records


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `data` is JSON."""

    name: str
    id: str
    data: str


def read_event_id(last_event_id: str | None) -> datetime:
    """After which answer to go on.

    Raises:
        BadRequest: it is no id of ours.
    """
    if last_event_id is None:
        return FIRST
    if not (last_event_id.isdecimal() and last_event_id.isascii() and len(last_event_id) <= 17):
        raise BadRequest("Last-Event-ID: not one that was given out")
    return FIRST + timedelta(microseconds=int(last_event_id))


async def follow(records: Records, job_id: str, after: datetime) -> AsyncIterator[Event]:
    """The events of a job that exists, until it is over, or deleted, or an hour has gone.

    Raises:
        Unavailable: the records are away.
    """
    clock = asyncio.get_running_loop().time
    deadline, wait_s = clock() + LONGEST_S, QUICK_S
    while clock() < deadline:
        photos, is_last, job = await to_thread.run_sync(_look, records, job_id, after)
        for photo in photos:
            after = photo.answered_at or after
            yield Event("photo", _event_id(after), PhotoSummary.of(photo).model_dump_json())
        if is_last:
            if job is not None:
                yield Event("job", END, JobOverview.of(job).model_dump_json())
            return
        wait_s = QUICK_S if photos else min(SLOW_S, wait_s * 1.5)
        await asyncio.sleep(0 if len(photos) == AT_ONCE else wait_s)


def is_over(records: Records, job_id: str) -> bool:
    """Whether there is nothing to follow any more."""
    with records.read() as session:
        job = session.get(Job, job_id)
        return job is None or job.finished_at is not None


def _look(records: Records, job_id: str, after: datetime) -> tuple[list[Photo], bool, JobSummary | None]:
    """Photos that were answered since, whether these are the last of them, and then the job."""
    answered = select(Photo).where(Photo.job_id == job_id, Photo.answered_at > after)
    with records.read() as session:
        job = session.get(Job, job_id)  # before its photos, or the last of them could be missed
        photos = session.scalars(answered.order_by(Photo.answered_at).limit(AT_ONCE)).all()
        is_last = job is None or (job.finished_at is not None and len(photos) < AT_ONCE)
        return list(photos), is_last, history.find_job(session, job_id) if is_last else None


def _event_id(answered_at: datetime) -> str:
    since = answered_at.replace(tzinfo=UTC) - FIRST.replace(tzinfo=UTC)
    return str(since // timedelta(microseconds=1))

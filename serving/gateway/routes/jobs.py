"""Many photos, answered one after the other while nobody waits."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from serving.gateway.access import User
from serving.gateway.batches import read_job
from serving.gateway.dependencies import Admin, GatewayOf, Operator, Viewer, upload
from serving.gateway.errors import NotFound, Unavailable
from serving.gateway.gateway import Gateway
from serving.gateway.intake import enqueue, keep
from serving.gateway.queue import Queue
from serving.gateway.records import history, photos
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.tables import Job, Photo, State
from serving.gateway.routes.results import Id
from serving.gateway.settings import FETCHED_AT_ONCE
from serving.gateway.submission import IdempotencyKey
from serving.gateway.views import JobList, JobOverview, JobView, PhotoSummary

router = APIRouter(tags=["jobs"])


class Page(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=history.MAX_LIMIT)] = history.LIMIT


@router.post("/api/jobs", status_code=202, dependencies=[upload(Operator, FETCHED_AT_ONCE)])
async def submit_job(
    request: Request, gateway: GatewayOf, user: Operator, idempotency_key: IdempotencyKey = None
) -> JobView:
    """Submit many photos; they are answered one by one, and `links` says where to look.

    A file that is no photo is a failed photo of the job, which says why; the others are answered.
    """
    queue = queue_of(gateway)
    is_repeat = await _is_known(gateway, user, idempotency_key)
    if not is_repeat:  # or it was admitted already
        await queue.admit(1)  # before megabytes are sent in vain
    job = await read_job(request, gateway, user, idempotency_key, is_repeat)
    if job.id is None:
        job = await submit(gateway, queue, job)
    return await show_job(gateway, user, job.id)


@router.get("/api/jobs")
async def list_jobs(gateway: GatewayOf, user: Viewer, page: Annotated[Page, Query()]) -> JobList:
    """Jobs, newest first."""

    def find() -> JobList:
        with gateway.records.read() as session:
            found = history.find_jobs(session, None, user.stores, page.cursor, page.limit)
        return JobList(items=[JobOverview.of(summary) for summary in found.items], next=found.next)

    return await to_thread.run_sync(find)


@router.get("/api/jobs/{job_id}")
async def get_job(gateway: GatewayOf, user: Viewer, job_id: Id) -> JobView:
    """One job and its photos; the report of each is under the photo's own link."""
    return await show_job(gateway, user, job_id)


@router.post("/api/jobs/{job_id}/retry", status_code=202)
async def retry_job(gateway: GatewayOf, user: Admin, job_id: Id) -> JobView:
    """Try the photos of a job again that were given up."""
    return await retry(gateway, user, job_id)


async def retry(gateway: Gateway, user: User, job_id: str) -> JobView:
    """Put the dead photos of a job into the queue again.

    Raises:
        NotFound: there is no such job.
        Unavailable: there is no queue, or it takes nothing.
    """
    queue = queue_of(gateway)
    await check_job(gateway, user, job_id)

    def revive() -> list[Photo]:
        with gateway.records.write() as session:
            dead = [photo.id for photo in session.get_one(Job, job_id).photos if photo.state == State.DEAD]
            return [photo for each in dead if (photo := photos.revive(session, each))]

    await queue.admit(1)
    if revived := await to_thread.run_sync(revive):
        await enqueue(queue, revived[0].job, revived)
    return await show_job(gateway, user, job_id)


def queue_of(gateway: Gateway) -> Queue:
    """The queue.

    Raises:
        Unavailable: there is none, since nobody has set one up.
    """
    if gateway.queue is None:
        raise Unavailable(
            "this gateway has no queue, so it takes one photo at a time, at POST /api/photos; for jobs of "
            "many set STOCKTAKE_GATEWAY_REDIS and start a worker",
            retry_after_s=3600,
        )
    return gateway.queue


async def submit(gateway: Gateway, queue: Queue, job: Job) -> Job:
    """Write a job down, and put its photos into the queue; returns it, or the one that was there first.

    Raises:
        Overloaded, Unavailable: it is not taken.
    """
    await queue.admit(len(job.photos))
    job = await keep(gateway, job, {})
    await enqueue(queue, job, [photo for photo in job.photos if photo.state == State.QUEUED])
    return job


async def _is_known(gateway: Gateway, user: User, key: str | None) -> bool:
    """Whether a user has a job of an idempotency key."""

    def find() -> bool:
        with gateway.records.read() as session:
            return history.is_key_known(session, user.name, key)

    return key is not None and await to_thread.run_sync(find)


async def check_job(gateway: Gateway, user: User, job_id: str) -> None:
    """Raise NotFound where there is no job that a user may see; its photos are not read."""

    def find() -> None:
        with gateway.records.read() as session:
            if history.find_job(session, job_id, user.stores) is None:
                raise NotFound("there is no such job")

    await to_thread.run_sync(find)


async def show_job(gateway: Gateway, user: User, job_id: str) -> JobView:
    """A job that a user may see.

    Raises:
        NotFound: there is none.
    """

    def find() -> JobView:
        with gateway.records.read() as session:
            summary = history.find_job(session, job_id, user.stores)
            if summary is None:
                raise NotFound("there is no such job")
            return JobView.of(summary, photos=[PhotoSummary.of(photo) for photo in summary.job.photos])

    return await to_thread.run_sync(find)

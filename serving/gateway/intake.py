"""Photos come in: looked at, put into the store, and answered at once or written down for the queue."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, model_validator
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from serving.gateway.access import User
from serving.gateway.answering import photo_key
from serving.gateway.blurring import Blur, blur_photo
from serving.gateway.errors import Clash, Forbidden, Overloaded, Unavailable
from serving.gateway.fields import Blank, Name, Quantity, TakenAt, clean_file_name, to_utc
from serving.gateway.gateway import Gateway
from serving.gateway.metrics import PHOTOS_TAKEN
from serving.gateway.queue import Queue
from serving.gateway.records import photos
from serving.gateway.records.tables import Job, Photo, State, Task, now
from stocktake.errors import StoreError
from stocktake.parallel import map_in_order
from stocktake.photo_header import read_info
from stocktake.small_photos import check_memory

GONE = "its file was deleted while it came in, with an older photo of the same bytes; send it again"
LOOKED_AT_ONCE = 8  # files of one job, whose sender waits; each may be a request to the store

logger = logging.getLogger(__name__)


class About(BaseModel):
    """What is said of a photo beside its bytes."""

    model_config = ConfigDict(extra="forbid")

    task: Task
    store: Name = ""
    bay: Name = ""
    camera: Name = ""
    taken_at: Annotated[TakenAt | None, Blank] = None
    expected_quantity: Annotated[Quantity | None, Blank] = None

    @model_validator(mode="after")
    def _fits(self) -> "About":
        if self.expected_quantity is not None and self.task != Task.BINS:
            raise ValueError("expected_quantity goes with task=bins only")
        return self

    def check(self, user: User) -> None:
        """Raise Forbidden where the user may not submit for this store."""
        check_store(user, self.store)


def check_store(user: User, store: str) -> None:
    """Raise Forbidden where the user may not submit for this store."""
    if not user.sees(store):
        names = ", ".join(sorted(user.stores or ()))
        raise Forbidden(f"token {user.name!r} may submit photos of these stores only: {names}")


async def examine(gateway: Gateway, data: bytes, name: str) -> tuple[Photo, bytes]:
    """The record of a photo, not kept yet, and its file from here on, which is blurred where that is wanted.

    Raises:
        UnsupportedImage, PhotoTooLarge: it is none that is answered; only its header is read.
        NotBlurred: it could not be blurred.
    """
    limiter = gateway.blurring if gateway.blur else None
    return await to_thread.run_sync(_examine, data, name, gateway.blur, limiter=limiter)


def _examine(data: bytes, name: str, blur: Blur | None) -> tuple[Photo, bytes]:
    if blur is not None:
        data = blur_photo(blur, data)
    info = read_info(data)
    check_memory(info)
    photo = Photo(
        name=clean_file_name(name),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        width=info.width,
        height=info.height,
        format=info.format,
        received_at=now(),
    )
    return photo, data


def describe(photo: Photo, about: About) -> None:
    """Write what is said of a photo into its columns; what was taken a little ahead was taken now."""
    for name in ("task", "store", "bay", "camera", "expected_quantity"):
        setattr(photo, name, getattr(about, name))
    taken_at = to_utc(about.taken_at) if about.taken_at else photo.received_at
    photo.taken_at = min(taken_at, photo.received_at)


def digest_of(order: BaseModel | None, abouts: Sequence[About], sources: Sequence[str]) -> str:
    """What tells a request from another one that has the same idempotency key.

    `sources`: SHA-256 or URL of each photo; `order`: what is said of the job.
    """
    said = [each.model_dump_json() for each in (order, *abouts) if each is not None]
    return hashlib.sha256("\n".join((*said, *sources)).encode()).hexdigest()


async def find_earlier(gateway: Gateway, owner: str, key: str | None, digest: str) -> Job | None:
    """The job, with its photos, that an earlier request of the same key has made.

    Raises:
        Clash: that request was another one.
    """
    return await to_thread.run_sync(_find_earlier, gateway, owner, key, digest) if key else None


async def answer_at_once(gateway: Gateway, job: Job, data: bytes) -> Photo:
    """Ask the predictor about the one photo of a job; the answer goes out after photo and answer are kept.

    Saving overlaps predicting. Where the predictor cannot answer now, and there is a queue, the photo is left
    to it: it comes back QUEUED.

    Raises:
        UnsupportedImage, PhotoTooLarge, BadRequest: by the predictor; nothing is written down.
        Unavailable: nothing is written down, and the same may be sent again.
        Clash: see `find_earlier`.
    """
    (photo,) = job.photos
    put = store_bytes(gateway, photo.sha256, data)
    ask = gateway.predictors.ask(photo.task, data, photo.expected_quantity)
    kept, answer = await asyncio.gather(put, ask, return_exceptions=True)
    if isinstance(kept, BaseException):
        raise kept
    if isinstance(answer, Unavailable) and gateway.queue is not None:
        await _admit(gateway.queue)
        waiting = await keep(gateway, job, {photo.sha256: data})
        await enqueue(gateway.queue, waiting, [each for each in waiting.photos if each.state == State.QUEUED])
        return waiting.photos[0]
    if isinstance(answer, BaseException):
        raise answer
    photos.fill(photo, answer)
    photo.state, photo.attempts = State.DONE, 1
    photo.answered_at = now()
    return (await keep(gateway, job, {photo.sha256: data})).photos[0]


async def store_bytes(gateway: Gateway, sha256: str, data: bytes) -> None:
    """Put the file of a photo into the store; raises StoreError."""
    key, limiter = photo_key(sha256), gateway.storing
    await to_thread.run_sync(gateway.store.put, key, data, sha256, limiter=limiter)


async def _admit(queue: Queue) -> None:
    """Raise Overloaded where too much waits; where Redis is away the records take the photo all the same."""
    try:
        await queue.admit(1)
    except Overloaded:
        raise
    except Unavailable as error:
        logger.warning("a photo is taken without the queue: %s", error)


async def enqueue(queue: Queue, job: Job, waiting: Sequence[Photo]) -> None:
    """Put photos that are written down into the queue; if that fails now, a worker does it later."""
    try:
        await queue.put([photo.id for photo in waiting], job.priority)
    except Unavailable as error:
        logger.warning("job %s waits in the records: %s", job.id, error)


async def keep(gateway: Gateway, job: Job, data: dict[str, bytes]) -> Job:
    """Write a job down; returns it, or the one that was there first.

    `data`: files of its photos by their SHA-256, where they are at hand.

    Raises:
        Clash: see `find_earlier`.
        Unavailable: it is not written down.
    """
    kept = await to_thread.run_sync(_keep, gateway, job)
    if kept is job:
        try:
            await to_thread.run_sync(_restore, gateway, job, data, limiter=gateway.storing)
        except StoreError as error:
            logger.warning("job %s is kept, and its files are not looked for: %s", job.id, error)
    return kept


def _keep(gateway: Gateway, job: Job) -> Job:
    owner, key, digest = job.owner, job.idempotency_key, job.request_digest
    try:
        with gateway.records.write() as session:
            photos.add(session, job)
            for photo in job.photos:
                if photo.state == State.DONE:
                    gateway.observe(session, photo)
    except IntegrityError:
        earlier = _find_earlier(gateway, owner, key, digest or "") if key else None
        if earlier is None:
            raise
        return earlier
    for photo in job.photos:
        PHOTOS_TAKEN.labels(photo.task, "at_once" if photo.state == State.DONE else "job").inc()
    return job


def _restore(gateway: Gateway, job: Job, data: dict[str, bytes]) -> None:
    """Put files that are gone since they came in, because the last photo of the same bytes was deleted.

    Once a job is written down nobody deletes its files. A photo whose bytes are not at hand fails, and says
    so; in the queue it does no harm.
    """
    kept = [photo for photo in job.photos if photo.state != State.FAILED]
    keys = [photo_key(photo.sha256) for photo in kept]
    look = map if len(keys) == 1 else partial(map_in_order, workers=LOOKED_AT_ONCE)  # threads cost more
    for photo, there in zip(kept, look(gateway.store.exists, keys), strict=True):
        if there:
            continue
        if photo.sha256 in data:
            gateway.store.put(photo_key(photo.sha256), data[photo.sha256], photo.sha256)
        else:
            with gateway.records.write() as session:
                photos.give_up(session, photo.id, State.FAILED, GONE)


def _find_earlier(gateway: Gateway, owner: str, key: str | None, digest: str) -> Job | None:
    with gateway.records.read() as session:
        job = session.scalar(
            select(Job)
            .where(Job.owner == owner, Job.idempotency_key == key)
            .options(selectinload(Job.photos))
        )
    if job is not None and job.request_digest != digest:
        raise Clash(f"Idempotency-Key: another request came with it before, of job {job.id}; take a new key")
    return job

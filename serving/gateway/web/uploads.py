"""Photos that come from a form of ours: answered at once where it is one, or where there is no queue."""

from dataclasses import dataclass, field

from fastapi import Request

from serving.gateway.access import check_csrf
from serving.gateway.batches import Order, make_job, store_file
from serving.gateway.bodies import Part, read_form
from serving.gateway.gateway import Gateway
from serving.gateway.intake import About, answer_at_once, digest_of, examine, find_earlier
from serving.gateway.queue import Queue
from serving.gateway.records.tables import Job, Photo, Priority, Task
from serving.gateway.routes.jobs import submit
from serving.gateway.submission import parse
from serving.gateway.web.pages import Visitor
from stocktake.errors import BadRequest

WITHOUT_QUEUE = 8  # photos of a form; somebody waits for the answer to all of them


@dataclass
class Upload:
    """What came of a form. `refused`: names of files, and what is wrong with each."""

    about: About | None = None
    photos: list[Photo] = field(default_factory=list)
    refused: list[tuple[str, BadRequest]] = field(default_factory=list)


async def take_form(request: Request, gateway: Gateway, who: Visitor, key: str | None) -> Upload:
    """Read a form and hand its photos in, for somebody who waits: before what cameras have sent.

    One photo at a time is in memory, and at first two. `key` tells a form that is sent again.

    Raises:
        Forbidden: the form is not ours, or the store not theirs.
        BadRequest: it says something impossible, or has no photo.
        Overloaded, Unavailable: no more photos are taken; those before may have been.
    """
    settings, queue = gateway.settings, gateway.queue
    upload, fields, first, stored = Upload(), dict[str, str](), None, list[Photo]()
    most = settings.max_photos if queue else WITHOUT_QUEUE
    async for part in read_form(request, most, settings.max_photo_bytes):
        if part.filename is None:
            fields[part.name] = part.text
            continue
        if upload.about is None:
            upload.about = _read_about(fields, who)
        if not part.size and not part.filename:  # what a browser sends for an input without a file
            continue
        if queue is None:
            place = len(upload.photos) + len(upload.refused)
            await _answer(gateway, who, upload, part, key and f"{key}.{place}")
        elif first is None and not stored:
            first = part  # it may be the only one, and is answered at once
        else:
            if first is not None:
                stored.append(await store_file(gateway, first.data, first.filename or ""))
                first = None
            stored.append(await store_file(gateway, part.data, part.filename))
    await _finish(gateway, who, upload, first, stored, key)
    return upload


async def _finish(
    gateway: Gateway, who: Visitor, upload: Upload, first: Part | None, stored: list[Photo], key: str | None
) -> None:
    if stored:
        assert gateway.queue is not None
        assert upload.about is not None
        upload.photos = (await _queue(gateway, gateway.queue, who, upload.about, stored, key)).photos
    elif first is not None:
        await _answer(gateway, who, upload, first, key)
    if not upload.photos and not upload.refused:
        raise BadRequest("no photo was chosen; go back and choose one")


async def _answer(gateway: Gateway, who: Visitor, upload: Upload, part: Part, key: str | None) -> None:
    assert upload.about is not None
    name = part.filename or ""
    try:
        photo, data = await examine(gateway, part.data, name)
        job = await _job(gateway, who, upload.about, [photo], key)
        upload.photos.append(job.photos[0] if job.id else await answer_at_once(gateway, job, data))
    except BadRequest as error:
        upload.refused.append((name, error))


async def _queue(
    gateway: Gateway, queue: Queue, who: Visitor, about: About, stored: list[Photo], key: str | None
) -> Job:
    job = await _job(gateway, who, about, stored, key)
    return job if job.id else await submit(gateway, queue, job)


async def _job(gateway: Gateway, who: Visitor, about: About, photos: list[Photo], key: str | None) -> Job:
    """Of these photos, or what an earlier request of the same key has made, which has an id."""
    order, abouts = Order(task=about.task, priority=Priority.HIGH), [about] * len(photos)
    digest = digest_of(order, abouts, [photo.sha256 for photo in photos])
    earlier = await find_earlier(gateway, who.user.name, key, digest)
    return earlier or make_job(order, who.user, key, digest, abouts, photos)


def _read_about(fields: dict[str, str], who: Visitor) -> About:
    check_csrf(who.user, who.session, fields.pop("csrf", ""))
    if fields.get("task") != Task.BINS:
        fields.pop("expected_quantity", None)  # of an input that is not shown
    about = parse(About, fields)
    about.check(who.user)
    return about

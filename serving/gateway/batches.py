"""Jobs of many photos: a form with files, of which one at a time is in memory, or JSON with URLs."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import httpx
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.gateway.access import User
from serving.gateway.bodies import MAX_URLS_JSON, read_form
from serving.gateway.errors import Unavailable, UnsupportedMedia
from serving.gateway.fields import Blank, Name, clean_file_name
from serving.gateway.gateway import Gateway
from serving.gateway.intake import (
    About,
    check_store,
    describe,
    digest_of,
    examine,
    find_earlier,
    store_bytes,
)
from serving.gateway.records.tables import Job, Photo, Priority, State, Task, now
from serving.gateway.remote import check_url, fetch_photo
from serving.gateway.settings import FETCHED_AT_ONCE
from serving.gateway.submission import media_type, parse, read_json
from stocktake.errors import BadRequest

MAX_URLS = 100  # of one job
EACH = tuple(name for name in About.model_fields if name != "task")  # what may differ from photo to photo
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Order(BaseModel):
    """What is said of a job beside its photos."""

    model_config = ConfigDict(extra="forbid")

    task: Task
    priority: Priority = Priority.NORMAL
    webhook: Annotated[Url | None, Blank] = None


class PhotoAt(BaseModel):
    """One photo that the gateway fetches; what is left out is that of the job."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    store: Name | None = None
    bay: Name | None = None
    camera: Name | None = None
    taken_at: Any = None
    expected_quantity: Any = None


class OrderByUrls(Order):
    """A job whose photos the gateway fetches."""

    store: Name = ""
    bay: Name = ""
    camera: Name = ""
    photos: Annotated[list[PhotoAt], Field(min_length=1, max_length=MAX_URLS)]

    def about(self, photo: PhotoAt) -> About:
        """What is said of one of the photos, by itself or by the job."""
        said = photo.model_dump(exclude_none=True, exclude={"url"})
        return parse(About, {name: getattr(self, name) for name in ("task", "store", "bay", "camera")} | said)


async def read_job(request: Request, gateway: Gateway, user: User, key: str | None, is_repeat: bool) -> Job:
    """The job of a request, not written down yet, its photos in the store; or what an earlier one has made.

    `is_repeat`: there is a job of this key, so files of a form are looked at and not kept.

    A file that is no photo, or cannot be blurred, becomes a FAILED photo of the job, which says why.

    Raises:
        BadRequest: and its subclasses, for what is wrong with the request.
        Forbidden: the user may not submit for a store.
        Clash: see `find_earlier`.
        Unavailable: the job of a repeated request was deleted meanwhile.
    """
    kind = media_type(request)
    order: Order
    if kind == "multipart/form-data":
        order, abouts, found = await _read_files(request, gateway, user, keep=not is_repeat)
        digest = digest_of(order, abouts, [photo.sha256 for photo in found])
        earlier = await find_earlier(gateway, user.name, key, digest)
        if is_repeat and earlier is None:
            raise Unavailable("the job of this Idempotency-Key was deleted just now; send it again")
    elif kind == "application/json":
        order = by_urls = await read_json(request, OrderByUrls, MAX_URLS_JSON)
        abouts = _checked([by_urls.about(photo) for photo in by_urls.photos], order, gateway, user)
        urls = [check_url(photo.url, gateway.settings.photo_hosts, "url") for photo in by_urls.photos]
        digest = digest_of(order, abouts, [str(url) for url in urls])
        earlier = await find_earlier(gateway, user.name, key, digest)
        found = [] if earlier else await _fetch(gateway, urls)
    else:
        raise UnsupportedMedia(
            "Content-Type: send multipart/form-data with files `photos`, or application/json"
        )
    return earlier or make_job(order, user, key, digest, abouts, found)


async def _read_files(
    request: Request, gateway: Gateway, user: User, keep: bool
) -> tuple[Order, list[About], list[Photo]]:
    settings, fields = gateway.settings, dict[str, list[str]]()
    found: list[Photo] = []
    async for part in read_form(request, settings.max_photos, settings.max_photo_bytes):
        if part.filename is None:
            fields.setdefault(part.name, []).append(part.text)
            if part.name == "store":
                check_store(user, part.text.strip())  # before files that follow are kept
        elif part.name != "photos":
            raise BadRequest("the form has a file of another name; photos are fields `photos`")
        elif part.filename or part.size:  # a browser sends an empty part where no file was chosen
            found.append(await store_file(gateway, part.data, part.filename, keep))
    if not found:
        raise BadRequest("photos: the form has no such file")
    order = parse(Order, {name: values[-1] for name, values in fields.items() if name not in EACH})
    each = _each({name: values for name, values in fields.items() if name in EACH}, len(found))
    abouts = [parse(About, {"task": order.task, **said}) for said in each]
    return order, _checked(abouts, order, gateway, user), found


def _each(fields: dict[str, list[str]], count: int) -> list[dict[str, str]]:
    """Fields that are given once hold for all photos, those given `count` times for one each."""
    for name, values in fields.items():
        if len(values) not in (1, count):
            raise BadRequest(
                f"{name}: given {len(values)} times for {count} photos; give it once, or for each"
            )
    return [
        {name: values[min(place, len(values) - 1)] for name, values in fields.items()}
        for place in range(count)
    ]


def _checked(abouts: list[About], order: Order, gateway: Gateway, user: User) -> list[About]:
    for about in abouts:
        about.check(user)
    if order.webhook is not None:
        check_url(order.webhook, gateway.settings.webhook_hosts, "webhook")
        if gateway.settings.webhook_secret is None:
            raise BadRequest("webhook: this gateway has no STOCKTAKE_GATEWAY_WEBHOOK_SECRET to sign it with")
    return abouts


async def _fetch(gateway: Gateway, urls: Sequence[httpx.URL]) -> list[Photo]:
    turns = asyncio.Semaphore(FETCHED_AT_ONCE)

    async def fetch(url: httpx.URL) -> Photo:
        name = url.path
        async with turns:
            try:
                return await store_file(gateway, await fetch_photo(url, gateway.settings), name)
            except BadRequest as error:
                return _refused(name, b"", error)

    try:
        async with asyncio.TaskGroup() as group:  # ends the others when one fails
            fetches = [group.create_task(fetch(url)) for url in urls]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [each.result() for each in fetches]


async def store_file(gateway: Gateway, data: bytes, name: str, keep: bool = True) -> Photo:
    """The record of a file that came in, and is in the store if it is a photo that is taken, to `keep`."""
    try:
        photo, kept = await examine(gateway, data, name)
    except BadRequest as error:
        return _refused(name, data, error)
    if keep:
        await store_bytes(gateway, photo.sha256, kept)
    return photo


def _refused(name: str, data: bytes, error: BadRequest) -> Photo:
    """A file that is no photo, or one that could not be blurred: its bytes are not kept."""
    return Photo(
        name=clean_file_name(name), sha256=hashlib.sha256(data).hexdigest(), size=len(data),
        width=0, height=0, format="", received_at=now(), answered_at=now(),
        state=State.FAILED, error=str(error),
    )  # fmt: skip


def make_job(
    order: Order, user: User, key: str | None, digest: str, abouts: list[About], found: list[Photo]
) -> Job:
    """A job of photos, with what is said of each; not written down yet."""
    for place, (photo, about) in enumerate(zip(found, abouts, strict=True)):
        photo.place = place
        describe(photo, about)
    return Job(
        owner=user.name, task=order.task, priority=order.priority, webhook=order.webhook, photos=found,
        idempotency_key=key, request_digest=digest if key else None,
    )  # fmt: skip

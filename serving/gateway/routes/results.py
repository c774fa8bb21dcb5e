"""What was found on photos: history, search, pictures."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from serving.gateway import pictures
from serving.gateway.access import User
from serving.gateway.answering import photo_key
from serving.gateway.csv_export import csv_rows
from serving.gateway.dependencies import GatewayOf, Viewer
from serving.gateway.errors import NotFound
from serving.gateway.fields import Name, RecordTime
from serving.gateway.gateway import Gateway
from serving.gateway.records import history
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.tables import Photo, State, Task
from serving.gateway.views import PhotoList, PhotoSummary, PhotoView
from stocktake.bins.verification import Verdict

SECONDS = 3600  # that a browser may keep a picture; by its ETag it asks again
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "the picture"},
    304: {"description": "unchanged"},
}

AS_IT_CAME: dict[int | str, dict[str, Any]] = {
    **JPEG,
    200: {"content": {f"image/{kind}": {} for kind in ("jpeg", "png", "webp")}, "description": "the picture"},
}

router = APIRouter(tags=["results"])
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class PhotoSearch(BaseModel):
    """Which photos; what is left out does not matter. `since` <= taken_at < `until`."""

    model_config = ConfigDict(extra="forbid")

    task: Task | None = None
    store: Name | None = None
    bay: Name | None = None
    camera: Name | None = None
    state: State | None = None
    verdict: Verdict | None = None
    since: RecordTime | None = None
    until: RecordTime | None = None

    def filter(self, user: User) -> history.PhotoFilter:
        """Within what a user may see."""
        fields = {name: getattr(self, name) for name in PhotoSearch.model_fields}
        return history.PhotoFilter(**fields, stores=user.stores)


class PhotoPageSearch(PhotoSearch):
    """The same, a page at a time."""

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=history.MAX_LIMIT)] = history.LIMIT


class Picture(BaseModel):
    """How to show a photo: as it came, or as a JPEG no wider than `width` px, or painted."""

    model_config = ConfigDict(extra="forbid")

    annotated: bool = False
    width: Annotated[int, Field(ge=16, le=pictures.MAX_WIDTH)] | None = None


@router.get("/api/photos")
async def list_photos(
    gateway: GatewayOf, user: Viewer, search: Annotated[PhotoPageSearch, Query()]
) -> PhotoList:
    """Photos by when they were taken, newest first."""

    def find() -> PhotoList:
        with gateway.records.read() as session:
            page = history.find_photos(session, search.filter(user), search.cursor, search.limit)
        return PhotoList(items=[PhotoSummary.of(photo) for photo in page.items], next=page.next)

    return await to_thread.run_sync(find)


@router.get("/api/photos.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def export_photos(
    gateway: GatewayOf, user: Viewer, search: Annotated[PhotoSearch, Query()]
) -> StreamingResponse:
    """The same as a table, all pages of it."""

    def photos() -> Iterator[Photo]:
        cursor = None
        while True:
            with gateway.records.read() as session:
                page = history.find_photos(session, search.filter(user), cursor, history.MAX_LIMIT)
            yield from page.items
            if (cursor := page.next) is None:
                return

    headers = {"Content-Disposition": 'attachment; filename="photos.csv"'}
    return StreamingResponse(csv_rows(photos()), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/api/photos/{photo_id}")
async def get_photo(gateway: GatewayOf, user: Viewer, photo_id: Id) -> PhotoView:
    """One photo, and the report that its predictor made."""
    return PhotoView.of(await find_photo(gateway, user, photo_id))


@router.get("/api/photos/{photo_id}/image", response_class=Response, responses=AS_IT_CAME)
async def get_image(
    request: Request, gateway: GatewayOf, user: Viewer, photo_id: Id, how: Annotated[Picture, Query()]
) -> Response:
    """The photo as it came; smaller, or with what was found on it, if asked for."""
    photo = await find_photo(gateway, user, photo_id, with_products=how.annotated)
    if not how.annotated and how.width is None:
        return await _picture(request, gateway, photo, "whole", None, photo.format)
    kind = f"{how.width}-{photo.answered_at if how.annotated else ''}"
    draw = partial(pictures.draw, photo=photo, width=how.width, annotated=how.annotated)
    return await _picture(request, gateway, photo, kind, draw)


@router.get("/api/photos/{photo_id}/voids/{number}.jpg", response_class=Response, responses=JPEG)
async def get_crop(
    request: Request,
    gateway: GatewayOf,
    user: Viewer,
    photo_id: Id,
    number: Annotated[int, Path(ge=0, lt=10_000)],
) -> Response:
    """A void and a little beside it; `number` is its place in the report, from 0."""
    photo = await find_photo(gateway, user, photo_id)
    draw = partial(pictures.crop, photo=photo, number=number)
    return await _picture(request, gateway, photo, f"void-{number}-{photo.answered_at}", draw)


async def find_photo(gateway: Gateway, user: User, photo_id: str, with_products: bool = False) -> Photo:
    """A photo that a user may see.

    Raises:
        NotFound: there is none.
    """

    def find() -> Photo:
        with gateway.records.read() as session:
            photo = history.find_photo(session, photo_id, user.stores)
            if photo is None:
                raise NotFound("there is no such photo")
            if with_products:
                _ = photo.products  # is not read otherwise
            return photo

    return await to_thread.run_sync(find)


async def _picture(
    request: Request,
    gateway: Gateway,
    photo: Photo,
    kind: str,
    draw: Callable[[bytes], bytes] | None,
    format_: str = "jpeg",
) -> Response:
    """Of what is in the store, or that itself; nothing is read where the browser has it."""
    if photo.expired_at is not None:
        raise NotFound(
            f"the file of this photo was deleted on {photo.expired_at:%Y-%m-%d}; its report is kept"
        )
    if photo.width == 0:
        raise NotFound("this file was no photo, and was not kept")
    etag = f'"{photo.sha256[:32]}-{kind}"'.replace(" ", "T")
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, max-age={SECONDS}",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(photo.name or photo.id, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    in_hand: CapacityLimiter = request.app.state.pictures
    drawing: CapacityLimiter = request.app.state.drawing
    async with in_hand:  # before the file is in memory
        key = photo_key(photo.sha256)
        content = await to_thread.run_sync(gateway.store.get, key, limiter=gateway.storing)
        if draw is not None:
            content = await to_thread.run_sync(_draw, gateway, draw, content, limiter=drawing)
    return Response(content, media_type=f"image/{format_}", headers=headers)


def _draw(gateway: Gateway, draw: Callable[[bytes], bytes], data: bytes) -> bytes:
    with gateway.unpacking.hold(pictures.memory_to_draw(data)):
        return draw(data)

"""One photo, answered at once."""

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from serving.gateway.access import User
from serving.gateway.dependencies import GatewayOf, Operator
from serving.gateway.gateway import Gateway
from serving.gateway.intake import About, answer_at_once, digest_of, examine, find_earlier
from serving.gateway.records.tables import Job, Photo, State
from serving.gateway.submission import IdempotencyKey, read_photo
from serving.gateway.views import PhotoView

router = APIRouter(tags=["photos"])


@router.post("/api/photos")
async def submit_photo(
    request: Request,
    response: Response,
    gateway: GatewayOf,
    user: Operator,
    idempotency_key: IdempotencyKey = None,
) -> PhotoView:
    """Submit one photo and get what is found on it.

    200: answered. 202: its predictor cannot answer now, so it was queued; look at `links.self` later.
    """
    about, data, name = await read_photo(request, gateway.settings.max_photo_bytes)
    photo = await take(gateway, user, about, data, name, idempotency_key)
    if photo.state != State.DONE:
        response.status_code = 202
    return PhotoView.of(photo)


async def take(
    gateway: Gateway, user: User, about: About, data: bytes, name: str, key: str | None = None
) -> Photo:
    """Answer one photo, or find the answer that an earlier request of the same key got."""
    about.check(user)
    photo = await to_thread.run_sync(examine, data, name, about)
    digest = digest_of([about], [photo.sha256])
    if earlier := await find_earlier(gateway, user.name, key, digest):
        return earlier.photos[0]
    job = Job(
        owner=user.name,
        task=about.task,
        idempotency_key=key,
        request_digest=digest if key else None,
        photos=[photo],
    )
    return await answer_at_once(gateway, job, data)

"""One photo, answered at once."""

from fastapi import APIRouter, Request, Response

from serving.gateway.access import User
from serving.gateway.dependencies import GatewayOf, Operator, upload
from serving.gateway.gateway import Gateway
from serving.gateway.intake import About, answer_at_once, describe, digest_of, examine, find_earlier
from serving.gateway.records.tables import Job, Photo, State
from serving.gateway.submission import IdempotencyKey, read_photo
from serving.gateway.views import PhotoView

router = APIRouter(tags=["photos"])


@router.post("/api/photos", dependencies=[upload(Operator)])
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
    about, data, name = await read_photo(request, gateway.settings)
    photo = await take_photo(gateway, user, about, data, name, idempotency_key)
    if photo.state in (State.QUEUED, State.RUNNING):
        response.status_code = 202
    return PhotoView.of(photo)


async def take_photo(
    gateway: Gateway, user: User, about: About, data: bytes, name: str, key: str | None = None
) -> Photo:
    """Answer one photo, or find what an earlier request of the same idempotency key has got.

    Raises:
        Forbidden: the user may not submit for this store. And as `examine`, `answer_at_once`, `find_earlier`.
    """
    about.check(user)
    photo, data = await examine(gateway, data, name)
    describe(photo, about)
    digest = digest_of(None, [about], [photo.sha256])
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

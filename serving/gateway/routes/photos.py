"""One photo, answered at once."""

from fastapi import APIRouter, Request, Response

from serving.gateway.access import User
from serving.gateway.dependencies import GatewayOf, Operator, upload
from serving.gateway.gateway import Gateway
from serving.gateway.intake import answer_at_once, describe, digest_of, examine, find_earlier
from serving.gateway.records.tables import Job, Photo, State
from serving.gateway.remote import fetch_photo
from serving.gateway.submission import IdempotencyKey, Sent, read_photo
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
    sent = await read_photo(request, gateway.settings)
    photo = await take_photo(gateway, user, sent, idempotency_key)
    if photo.state in (State.QUEUED, State.RUNNING):
        response.status_code = 202
    return PhotoView.of(photo)


async def take_photo(gateway: Gateway, user: User, sent: Sent, key: str | None = None) -> Photo:
    """Answer one photo, or find what an earlier request of the same idempotency key has got.

    Raises:
        Forbidden: the user may not submit for this store. And as `fetch_photo`, `examine`, `answer_at_once`,
            `find_earlier`.
    """
    sent.about.check(user)
    if isinstance(sent.file, bytes):
        photo, data = await examine(gateway, sent.file, sent.name)
        digest = digest_of(None, [sent.about], [photo.sha256])
        earlier = await find_earlier(gateway, user.name, key, digest)
    else:  # by now the URL may have another photo, or none
        digest = digest_of(None, [sent.about], [str(sent.file)])
        earlier = await find_earlier(gateway, user.name, key, digest)
        if earlier is None:
            data = await fetch_photo(sent.file, gateway.settings)
            photo, data = await examine(gateway, data, sent.name)
    if earlier:
        return earlier.photos[0]
    describe(photo, sent.about)
    job = Job(
        owner=user.name,
        task=sent.about.task,
        idempotency_key=key,
        request_digest=digest if key else None,
        photos=[photo],
    )
    return await answer_at_once(gateway, job, data)

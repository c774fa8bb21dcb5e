"""A job as it goes on."""

from asyncio import Semaphore
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from serving.gateway.dependencies import GatewayOf, Viewer
from serving.gateway.errors import Overloaded, Unavailable
from serving.gateway.events import END, Event, follow, is_over, read_event_id
from serving.gateway.routes.jobs import check_job
from serving.gateway.routes.results import Id

router = APIRouter(tags=["jobs"])
HEARTBEAT_S = 15
COME_BACK_MS = 2000
MOST = 500  # followers at once


@router.get(
    "/api/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={204: {"description": "all was told: do not come back"}},
)
async def job_events(
    request: Request,
    gateway: GatewayOf,
    user: Viewer,
    job_id: Id,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """Server-sent events: `photo` as each is over, `job` when all are.

    Who comes back with `Last-Event-ID` gets what followed.
    """
    await check_job(gateway, user, job_id)
    if last_event_id == END:
        if await to_thread.run_sync(is_over, gateway.records, job_id):
            return Response(status_code=204)
        last_event_id = None
    after = read_event_id(last_event_id)
    places: Semaphore = request.app.state.followers
    if places.locked():
        raise Overloaded(f"{MOST} followers are there already, and more are not served", retry_after_s=10)
    return EventSourceResponse(
        _told(follow(gateway.records, job_id, after), places),
        ping=HEARTBEAT_S,
        headers={"X-Accel-Buffering": "no"},
    )


async def _told(events: AsyncIterator[Event], places: Semaphore) -> AsyncIterator[ServerSentEvent]:
    async with places:
        try:
            async for event in events:
                yield ServerSentEvent(event.data, event=event.name, id=event.id, retry=COME_BACK_MS)
        except Unavailable:
            return  # the client comes back by itself

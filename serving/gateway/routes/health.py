"""Whether the gateway lives, and can work. Open to everybody: probes and Prometheus have no tokens."""

import asyncio
import math

from anyio import fail_after, to_thread
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from serving.gateway.dependencies import GatewayOf
from serving.gateway.errors import Unavailable
from serving.gateway.gateway import Gateway
from serving.gateway.metrics import QUEUE_LENGTH, count_photos
from serving.gateway.records.tables import Task
from stocktake.errors import StoreError

COUNT_S = 5.0  # that /metrics waits for records and queue: Prometheus gives up after 10

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def live() -> dict[str, bool]:
    """The process answers."""
    return {"live": True}


@router.get("/readyz", responses={503: {"description": "records or photos cannot be reached"}})
async def ready(gateway: GatewayOf, response: Response) -> dict[str, bool | None]:
    """Whether records and photos can be reached; what else is away is told, and the rest works without it.

    `queue` is null where there is none.
    """
    records, photos = await asyncio.gather(
        to_thread.run_sync(_has_records, gateway),
        to_thread.run_sync(_has_photos, gateway, limiter=gateway.storing),
    )
    parts: dict[str, bool | None] = {"records": records, "photos": photos}
    is_ready = records and photos
    answering = await asyncio.gather(*map(gateway.predictors.is_ready, Task))
    parts |= dict(zip((task.value for task in Task), answering, strict=True))
    parts["queue"] = gateway.queue.problem is None if gateway.queue else None
    response.status_code = 200 if is_ready else 503
    return {"ready": is_ready, **parts}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(gateway: GatewayOf) -> Response:
    """For Prometheus."""
    try:
        with fail_after(COUNT_S):
            await to_thread.run_sync(count_photos, gateway.records, abandon_on_cancel=True)
            if gateway.queue:
                QUEUE_LENGTH.set(await gateway.queue.waiting())
    except (Unavailable, TimeoutError):
        QUEUE_LENGTH.set(math.nan)  # the rest can still be told
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _has_records(gateway: Gateway) -> bool:
    try:
        with gateway.records.read() as session:
            session.execute(text("SELECT 1"))
    except Unavailable:
        return False
    return True


def _has_photos(gateway: Gateway) -> bool:
    try:
        gateway.store.stat("photos/none")
    except StoreError:
        return False
    return True

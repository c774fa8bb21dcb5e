"""Whether the gateway lives, and can work. Open to everybody, like the metrics: probes have no tokens."""

from anyio import to_thread
from fastapi import APIRouter, Response
from sqlalchemy import text

from serving.gateway.dependencies import GatewayOf
from serving.gateway.errors import Unavailable
from serving.gateway.gateway import Gateway
from serving.gateway.records.tables import Task
from stocktake.errors import StoreError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def live() -> dict[str, bool]:
    """The process answers."""
    return {"live": True}


@router.get("/readyz")
async def ready(gateway: GatewayOf, response: Response) -> dict[str, bool]:
    """Records and photos can be read. What else is away is said, but pages and history work without it."""
    parts = await to_thread.run_sync(_look, gateway)
    for task in Task:
        parts[task.value] = await gateway.predictors.is_ready(task)
    is_ready = parts["records"] and parts["photos"]
    response.status_code = 200 if is_ready else 503
    return {"ready": is_ready, **parts}


def _look(gateway: Gateway) -> dict[str, bool]:
    parts = {"records": True, "photos": True}
    try:
        with gateway.records.read() as session:
            session.execute(text("SELECT 1"))
    except Unavailable:
        parts["records"] = False
    try:
        gateway.store.exists("photos/ready")
    except StoreError:
        parts["photos"] = False
    return parts

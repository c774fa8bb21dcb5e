"""What only administrators may."""

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from serving.gateway.access import Access, Role
from serving.gateway.deleting import delete_photo
from serving.gateway.dependencies import Admin, GatewayOf
from serving.gateway.routes.results import Id, find_photo

router = APIRouter(tags=["administration"])


class TokenView(BaseModel):
    """A token without what it is."""

    name: str
    role: Role
    stores: list[str] | None  # that it is limited to


@router.get("/api/tokens")
async def list_tokens(request: Request, _user: Admin) -> dict[str, list[TokenView]]:
    """Who may use this gateway."""
    access: Access = request.app.state.access
    users = [
        TokenView(name=user.name, role=user.role, stores=None if user.stores is None else sorted(user.stores))
        for user in access.users()
    ]
    return {"items": users}


@router.delete("/api/photos/{photo_id}", status_code=204, response_class=Response)
async def remove_photo(gateway: GatewayOf, user: Admin, photo_id: Id) -> Response:
    """Delete a photo with its file, its report, and the feedback on it."""
    await find_photo(gateway, user, photo_id)
    await to_thread.run_sync(delete_photo, gateway.records, gateway.store, photo_id, limiter=gateway.storing)
    return Response(status_code=204)

"""What routes ask for: the gateway, and who asks."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request

from serving.gateway.access import Access, Role, User, check_csrf
from serving.gateway.admission import Admission, bytes_of
from serving.gateway.errors import Unauthorized
from serving.gateway.gateway import Gateway
from serving.gateway.rates import Rates

SESSION_COOKIE = "stocktake_session"
CSRF_HEADER = "x-csrf-token"
SAFE = ("GET", "HEAD", "OPTIONS")


async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def identify(request: Request) -> User:
    """Whose token, or whose session, a request comes with.

    A session's requests that change something have to bring its CSRF token in the header X-CSRF-Token.

    Raises:
        Unauthorized: neither is there, or it is good for nothing.
        Forbidden: another site sent it.
    """
    access: Access = request.app.state.access
    if authorization := request.headers.get("authorization"):
        return access.by_header(authorization)
    session = request.cookies.get(SESSION_COOKIE)
    if session is None:
        raise Unauthorized("give a token: Authorization: Bearer <token>")
    user = access.by_session(session)
    if request.method not in SAFE:
        check_csrf(user, session, request.headers.get(CSRF_HEADER, ""))
    return user


def require(role: Role) -> Any:
    """A dependency on a user of at least this role, whose request is counted."""

    async def user_of(request: Request) -> User:
        user = identify(request)
        rates: Rates = request.app.state.rates
        rates.take(user.name)
        user.require(role)
        return user

    return Depends(user_of)


GatewayOf = Annotated[Gateway, Depends(_gateway)]
Viewer = Annotated[User, require(Role.VIEWER)]
Operator = Annotated[User, require(Role.OPERATOR)]
Admin = Annotated[User, require(Role.ADMIN)]


def upload(who: Any, by_url: int = 1) -> Any:
    """A dependency on a place for the photos of a request until its answer is made.

    `who`: the annotation of who sends it, with a `name`; `by_url`: photos that are fetched at a time.
    """

    async def place(request: Request, gateway: GatewayOf, sender: who) -> AsyncIterator[None]:
        admission: Admission = request.app.state.admission
        with admission.place(sender.name, bytes_of(request, gateway.settings, by_url)):
            yield

    return Depends(place, scope="function")

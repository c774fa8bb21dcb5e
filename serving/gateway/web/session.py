"""Signing in and out, and who looks at a page. A token is given once; then a cookie stands for it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from serving.gateway.access import SESSION_S, Access, Role, check_csrf, csrf_token, open_session
from serving.gateway.bodies import read_body
from serving.gateway.dependencies import SESSION_COOKIE
from serving.gateway.errors import Forbidden, Unauthorized
from serving.gateway.rates import Rates
from serving.gateway.web.pages import THEME_COOKIE, THEMES, Visitor, local_path, render
from stocktake.errors import BadRequest

MAX_FORM = 64 << 10  # bytes of a form without files
YEAR_S = 365 * 24 * 3600

router = APIRouter(include_in_schema=False)


async def signed_in(request: Request) -> Visitor:
    """Who looks at a page; a request is counted once, however many ask for this."""
    access: Access = request.app.state.access
    rates: Rates = request.app.state.rates
    session = request.cookies.get(SESSION_COOKIE)
    if session is None:
        raise Unauthorized("sign in first")
    user = access.by_session(session)
    found = request.state.visitor = Visitor(user, session, csrf_token(user, session))
    rates.take(user.name)
    return found


def visitor(role: Role) -> Callable[[Visitor], Awaitable[Visitor]]:
    """A dependency on somebody who is signed in with at least this role."""

    async def identify(found: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
        found.user.require(role)
        return found

    return identify


async def read_fields(request: Request) -> dict[str, str]:
    """The fields of a form without files.

    Raises:
        BadRequest: it is none, or a field comes twice.
    """
    body = await read_body(request, MAX_FORM)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=32)
    except ValueError:
        raise BadRequest("the form cannot be read; load the page again") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadRequest("a field of the form came twice; load the page again")
    return fields


def posted(role: Role) -> Callable[..., Awaitable[dict[str, str]]]:
    """A dependency on the fields of one of our forms, sent by somebody of at least this role."""

    async def check(request: Request, who: Annotated[Visitor, Depends(visitor(role))]) -> dict[str, str]:
        fields = await read_fields(request)
        check_csrf(who.user, who.session, fields.pop("csrf", ""))
        return fields

    return check


Reader = Annotated[Visitor, Depends(visitor(Role.VIEWER))]
Submitter = Annotated[Visitor, Depends(visitor(Role.OPERATOR))]
Fields = Annotated[dict[str, str], Depends(posted(Role.OPERATOR))]
AdminFields = Annotated[dict[str, str], Depends(posted(Role.ADMIN))]


@router.get("/sign-in")
async def ask_for_token(request: Request, back: str = "/") -> Response:
    """The page that asks for a token."""
    return render(request, "sign_in.html", target=local_path(back), problem="")


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Open a session."""
    _refuse_others(request)
    fields = await read_fields(request)
    target = local_path(fields.get("target", "/"))
    access: Access = request.app.state.access
    try:
        user = access.by_token(fields.get("token", "").strip())
    except Unauthorized:
        problem = "This token is not known. Check that you have copied all of it."
        return render(request, "sign_in.html", 401, target=target, problem=problem)
    response = RedirectResponse(target, 303)
    _set_cookie(request, response, SESSION_COOKIE, open_session(user), SESSION_S)
    return response


@router.post("/sign-out")
async def sign_out(_fields: Annotated[Any, Depends(posted(Role.VIEWER))]) -> Response:
    """Close the session in this browser."""
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.post("/theme")
async def choose_theme(request: Request) -> Response:
    """Light, dark, or as the device has it."""
    _refuse_others(request)
    fields = await read_fields(request)
    response = RedirectResponse(local_path(fields.get("back", "/")), 303)
    theme = fields.get("theme", "")
    _set_cookie(request, response, THEME_COOKIE, theme if theme in THEMES else "", YEAR_S)
    return response


def _set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure)


def _refuse_others(request: Request) -> None:
    """These two forms come from people without a session; the browser says which site they are of."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("this form is not of this site; load the page again")

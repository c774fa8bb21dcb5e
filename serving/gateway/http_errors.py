"""Every error with its code, in one line, without a word of what was sent: `{"error": "…"}`, or a page."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from serving.gateway.errors import Unavailable, status_of, text_for_client
from serving.gateway.submission import explain
from serving.gateway.web.pages import error_page, is_page
from stocktake.errors import StocktakeError

FAULT = "something went wrong here"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Answer everything that a route raises."""

    @app.exception_handler(StocktakeError)
    async def _(request: Request, error: StocktakeError) -> Response:
        status = status_of(error)
        if status >= 500:
            logger.warning("refused with %d: %s", status, error)
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        said = FAULT if status == 500 else text_for_client(error)
        return answer_error(request, status, said, headers)

    @app.exception_handler(DataError)  # the last resort: SQLite takes it, so nobody may rely on it
    async def _(request: Request, error: DataError) -> Response:
        logger.warning("a value that the records cannot hold came through", exc_info=error)
        said = "a value is too long, too large, or has a character that is no text"
        return answer_error(request, 400, said, {})

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return answer_error(request, 400, explain(error), {})

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the router names the methods of the first route of this path only
            headers["Allow"] = ", ".join(_methods(request))
        return answer_error(request, error.status_code, str(error.detail).lower(), headers)


def answer_error(request: Request, status: int, said: str, headers: dict[str, str]) -> Response:
    """For a program, or on a page for people."""
    if is_page(request):
        return error_page(request, status, said, headers)
    return JSONResponse({"error": said}, status, headers)


def _methods(request: Request) -> list[str]:
    """Of all routes of a path; a mount takes every method, and has files only."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    found = [name for name in METHODS if any(r.matches(scopes[name])[0] is Match.FULL for r in routes)]
    return found or ["GET", "HEAD"]

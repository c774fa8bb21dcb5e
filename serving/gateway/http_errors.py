"""Every error as `{"error": "…"}`: with its code, in one line, without a word of what was sent."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from serving.gateway.errors import Unavailable, status_of
from serving.gateway.submission import explain
from stocktake.errors import StocktakeError

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Answer everything that a route raises."""

    @app.exception_handler(StocktakeError)
    async def _(_request: Request, error: StocktakeError) -> JSONResponse:
        status = status_of(error)
        if status >= 500:
            logger.warning("refused with %d: %s", status, error)
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        said = "something went wrong here" if status == 500 else str(error)
        return JSONResponse({"error": said}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": explain(error)}, 400)

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the router names the methods of the first route of this path only
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        return JSONResponse({"error": str(error.detail).lower()}, error.status_code, headers)


def _methods(app: FastAPI, request: Request) -> set[str]:
    """Of all routes of a path."""
    found: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE:
            found |= route.methods or set()
    return found

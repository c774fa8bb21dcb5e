"""Errors over REST: always `{"error": …}` with the code of the table, and the connection stays open."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from serving.predictors.bodies import ENCODINGS
from serving.predictors.client_log import log_error
from serving.predictors.errors import (
    ClientGone,
    Overloaded,
    Unauthorized,
    UnsupportedMedia,
    answer_to,
    text_for_client,
)

CLIENT_GONE = 499  # as nginx counts it; nobody reads it


class AnsweredRoute(APIRoute):
    """A route that answers whatever goes wrong.

    What leaves a route Starlette answers, too, but it then lets Uvicorn close the connection.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, and `error_response`."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                log_error(error)
                return error_response(error)

        return answer


def answering_router() -> APIRouter:
    """A router of such routes. KServe's app would write their JSON by a class that FastAPI gives up."""
    return APIRouter(route_class=AnsweredRoute, default_response_class=JSONResponse)


def error_response(error: Exception) -> Response:
    """The answer to an error."""
    headers = {}
    match error:
        case Overloaded():
            headers["Retry-After"] = str(error.retry_after)
        case Unauthorized():
            headers["WWW-Authenticate"] = "Bearer"
        case UnsupportedMedia():
            headers["Accept-Encoding"] = ", ".join(ENCODINGS)
    status = CLIENT_GONE if isinstance(error, ClientGone) else answer_to(error).http
    return _json({"error": text_for_client(error)}, status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer alike where there is no route: unknown paths, wrong methods."""

    async def http_error(request: Request, error: Exception) -> Response:
        return _http_error(request, error)

    app.add_exception_handler(HTTPException, http_error)


def _http_error(request: Request, error: Any) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    return _json({"error": str(error.detail)}, error.status_code, headers)


def _methods(request: Request) -> list[str]:
    """What may be done with the path of a request. Starlette says what its first route may."""
    scopes = {method: {**request.scope, "method": method} for method in ("GET", "HEAD", "POST")}
    return [
        *(
            method
            for method, scope in scopes.items()
            if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
        ),
        "OPTIONS",
    ]


def _json(content: Any, status: int, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")

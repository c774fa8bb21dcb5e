"""Every error as `{"error": "…"}`: with its code, in one line, without a word of what was sent."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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
    async def _(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail).lower()}, error.status_code, error.headers)

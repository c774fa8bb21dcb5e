"""REST routes and error answers that take precedence over KServe's own.

They are added to KServe's app before it adds its own, and the first route that matches wins.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import InferRequest, InferResponse
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady
from kserve.protocol.dataplane import DataPlane
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from serving.predictors.errors import BodyTooLarge, ClientError, answer_to
from serving.predictors.protocol import (
    HEADER_LENGTH,
    IMAGE,
    MAX_DIGITS,
    QUANTITY,
    encode_infer_response,
    parse_infer_request,
    parse_v1,
    quantity_of_text,
)
from stocktake.errors import BadRequest

logger = logging.getLogger(__name__)


class InternalError(Exception):
    """Something broke on our side; the log says what."""


def add_routes(app: FastAPI, dataplane: DataPlane, max_body_bytes: int) -> None:
    """Answer v1 and v2 inference requests, and all errors as `{"error": …}`."""

    @app.post("/v2/models/{model_name}/infer", tags=["V2"])
    async def infer(model_name: str, request: Request) -> Response:
        await _check_ready(dataplane, model_name)
        body = await _read_body(request, max_body_bytes)
        header_length = request.headers.get(HEADER_LENGTH)
        payload = await run_in_threadpool(parse_infer_request, body, header_length, model_name)
        response: InferResponse = await _run(dataplane, model_name, payload, request)
        content, json_length = encode_infer_response(payload, response)
        if json_length is None:
            return Response(content, media_type="application/json")
        return Response(
            content, headers={HEADER_LENGTH: str(json_length)}, media_type="application/octet-stream"
        )

    @app.post("/v1/models/{model_name}:predict", tags=["V1"])
    async def predict(model_name: str, request: Request) -> Response:
        await _check_ready(dataplane, model_name)
        body = await _read_body(request, max_body_bytes)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("image/"):
            payload: dict[str, Any] = {"instances": [{IMAGE: body, **_recorded(request)}]}
        else:
            payload = await run_in_threadpool(parse_v1, body)
        return JSONResponse(await _run(dataplane, model_name, payload, request))

    app.add_exception_handler(BadRequest, _bad_request)
    app.add_exception_handler(ClientError, _client_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(InternalError, _internal_error)


async def _check_ready(dataplane: DataPlane, model_name: str) -> None:
    if not await dataplane.model_ready(model_name):  # raises ModelNotFound, which KServe answers with 404
        raise ModelNotReady(model_name)


async def _run(
    dataplane: DataPlane, model_name: str, payload: InferRequest | dict[str, Any], request: Request
) -> Any:
    try:
        response, _ = await dataplane.infer(model_name, payload, dict(request.headers))
    except (InvalidInput, InferenceError, ModelNotFound, ModelNotReady):
        raise
    except Exception as error:
        # KServe would send the exception's text to the client and close the connection.
        logger.exception("%s failed", model_name)
        raise InternalError from error
    return response


def _recorded(request: Request) -> dict[str, int]:
    """What was recorded for a photo that is the body: it goes into the query, where curl can put it."""
    match request.query_params.getlist(QUANTITY):
        case []:
            return {}
        case [value]:
            return {QUANTITY: quantity_of_text(value)}
    raise BadRequest(f"query parameter {QUANTITY}: give it once")


async def _read_body(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    body = bytearray()
    if len(announced) <= MAX_DIGITS and int(announced) <= limit:  # the server knows that it is a number
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise BodyTooLarge(f"the body is larger than {limit:,} bytes; send fewer or smaller photos")


def _error(status: int, message: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


async def _bad_request(_request: Request, error: Any) -> Response:
    return _error(answer_to(error).http, str(error))


async def _client_error(_request: Request, error: Any) -> Response:
    return _error(answer_to(error.cause).http, str(error))


async def _invalid(_request: Request, error: Any) -> Response:
    first = error.errors()[0]
    return _error(400, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


async def _http_error(_request: Request, error: Any) -> Response:
    return _error(error.status_code, str(error.detail), error.headers)


async def _internal_error(_request: Request, _cause: Any) -> Response:
    return _error(500, "the server failed on this request; its log says why")

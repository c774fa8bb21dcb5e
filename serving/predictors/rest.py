"""REST routes for inference: v2, and v1 with JSON or with a photo as the body.

They and those of `rest_metadata` are in KServe's app instead of its own, see `lifecycle.RestServer`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from kserve import Model
from kserve.protocol.dataplane import DataPlane

from serving.logs import begin_request
from serving.predictors import openapi, requests
from serving.predictors.bodies import pack, read_body
from serving.predictors.errors import ClientGone, UnsupportedMedia
from serving.predictors.metadata import version_of
from serving.predictors.metrics import observe_request, rest_protocol
from serving.predictors.parameters import timeout_seconds
from serving.predictors.requests import Limits
from serving.predictors.rest_errors import AnsweredRoute, add_error_handlers, answering_router
from serving.predictors.rest_metadata import metadata_routes
from serving.predictors.rest_v1 import check_query, parse_v1, request_of_photo
from serving.predictors.rest_v2 import (
    HEADER_LENGTH,
    encode_infer_response,
    json_length,
    parse_infer_request,
)
from serving.predictors.tensors import QUANTITY

SMALL = 1 << 18  # bytes; more JSON than this is parsed beside the event loop


def add_routes(app: FastAPI, dataplane: DataPlane, limits: Limits) -> None:
    """Answer requests of v1 and v2, and all errors as `{"error": …}`."""
    router = answering_router()
    router.include_router(_inference_routes(dataplane, limits))
    router.include_router(metadata_routes(dataplane))
    app.include_router(router)
    app.router.redirect_slashes = False  # to whatever host a request names
    add_error_handlers(app)
    openapi.describe(app, router)


class CountedRoute(AnsweredRoute):
    """A route for inference, whose requests are counted with the code that they are answered with."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of AnsweredRoute, and the metrics."""
        handle = super().get_route_handler()
        protocol = rest_protocol(self.path)

        async def count(request: Request) -> Response:
            begin_request(request.headers)
            with observe_request(request.path_params["model_name"], protocol) as seen:
                response = await handle(request)
                seen.code = str(response.status_code)
                return response

        return count


def _inference_routes(dataplane: DataPlane, limits: Limits) -> APIRouter:
    router = APIRouter(route_class=CountedRoute)
    models = dataplane.model_registry

    @router.post("/v2/models/{model_name}/infer", tags=["V2"], **openapi.INFER)
    async def infer(request: Request, model_name: str) -> Response:
        """Ask a model, with JSON or binary tensors."""
        return await _infer(await requests.find_model(models, model_name), request, limits)

    @router.post("/v2/models/{model_name}/versions/{model_version}/infer", tags=["V2"], **openapi.INFER)
    async def infer_version(request: Request, model_name: str, model_version: str) -> Response:
        """Ask one version of a model."""
        model = await requests.find_model(models, model_name, model_version)
        return await _infer(model, request, limits)

    @router.post("/v1/models/{model_name}:predict", tags=["V1"], **openapi.PREDICT)
    async def predict(request: Request, model_name: str) -> Response:
        """Ask a model, with JSON or with a photo as the body."""
        model = await requests.find_model(models, model_name)
        return await _predict(model, request, limits)

    @router.post("/v1/models/{model_name}:explain", include_in_schema=False)
    async def explain(model_name: str) -> Response:
        requests.known_model(models, model_name)
        raise NotImplementedError("explanations are not offered")

    return router


async def _infer(model: Model, request: Request, limits: Limits) -> Response:
    if _media_type(request).startswith("image/"):
        raise UnsupportedMedia(
            f"Content-Type: v2 takes tensors; send a photo to /v1/models/{model.name}:predict"
        )
    header_length = request.headers.get(HEADER_LENGTH)
    async with _answering(model, request, limits) as (body, clock):
        parse = partial(parse_infer_request, body, header_length, model.name, version_of(model))
        payload = await _beside(parse, json_length(header_length, len(body)))
        requests.shorten(clock, timeout_seconds(payload.parameters))
        response = await requests.ask(model, payload, dict(request.headers))
        content, length = encode_infer_response(payload, response)
    if length is None:
        return await _packed(request, content, "application/json", {})
    return await _packed(request, content, "application/octet-stream", {HEADER_LENGTH: str(length)})


async def _predict(model: Model, request: Request, limits: Limits) -> Response:
    if request.query_params:
        check_query(request.query_params, [tensor["name"] for tensor in model.get_input_types()])
    async with _answering(model, request, limits) as (body, _):
        recorded = request.query_params.getlist(QUANTITY)
        if _media_type(request).startswith("image/"):
            payload = request_of_photo(memoryview(body).toreadonly(), recorded)
        else:
            payload = await _beside(partial(parse_v1, body, recorded), len(body))
        content = orjson.dumps(await requests.ask(model, payload, dict(request.headers)))
    return await _packed(request, content, "application/json", {})


@asynccontextmanager
async def _answering(
    model: Model, request: Request, limits: Limits
) -> AsyncIterator[tuple[bytearray, asyncio.Timeout]]:
    """Take a place and read the body; cancel what is done with it at the deadline, or if the client goes."""
    seconds = requests.allowed_seconds(request.headers.get(requests.TIMEOUT_HEADER), limits.seconds)
    until = asyncio.get_running_loop().time() + seconds
    with requests.place_in(model) as hold:
        body = await read_body(request, limits.body_bytes, until, hold)
        async with requests.deadline(until) as clock, _while_connected(request):
            yield body, clock


@asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Cancel what is done within when the client closes its connection. Raises ClientGone."""

    async def watch(clock: asyncio.Timeout) -> None:
        await request.receive()  # nothing but a disconnect follows a body
        clock.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as clock:
            watcher = asyncio.create_task(watch(clock))
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise ClientGone("the client closed its connection before it was answered") from error


async def _beside(parse: Any, size: int) -> Any:
    """Call `parse`, beside the event loop if the JSON is long: probes must not wait for it."""
    return parse() if size < SMALL else await asyncio.to_thread(parse)


async def _packed(request: Request, content: bytes, media_type: str, headers: dict[str, str]) -> Response:
    accepted = request.headers.get("accept-encoding", "")
    content, encoding = await _beside(partial(pack, content, accepted), len(content))
    if encoding is not None:
        headers |= {"Content-Encoding": encoding}
    return Response(content, headers=headers, media_type=media_type)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()

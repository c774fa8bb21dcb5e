"""REST routes that say what there is: health, the server, its models. GET, and HEAD for load balancers."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from kserve.errors import ModelNotReady, ServerNotReady
from kserve.protocol.dataplane import DataPlane
from starlette.convertors import StringConvertor, register_url_convertor

from serving.predictors import openapi
from serving.predictors.metadata import model_metadata
from serving.predictors.requests import known_model
from serving.predictors.rest_errors import answering_router
from serving.predictors.schemas import Live, ModelMetadata, ModelReady, Models, Ready, ServerMetadata

MODEL = "/v2/models/{model_name}"
VERSION = f"{MODEL}/versions/{{model_version}}"

Get = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]


class ModelName(StringConvertor):
    """A model's name in a path that would else match NAME:predict, too."""

    regex = "[^/:]+"


def metadata_routes(dataplane: DataPlane) -> APIRouter:
    """The routes, which ask the data plane."""
    router = answering_router()
    register_url_convertor("name", ModelName())

    def get(tag: str, *paths: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def add(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            for path in paths:
                router.get(path, tags=[tag], responses=openapi.errors_of(path))(endpoint)
                router.head(path, include_in_schema=False)(endpoint)
            return endpoint

        return add

    _add_server_routes(get, dataplane)
    _add_model_routes(get, dataplane)
    return router


def _add_server_routes(get: Get, dataplane: DataPlane) -> None:
    @get("V2", "/v2", "/v2/")
    async def server_metadata() -> ServerMetadata:
        """What the server is, and what it can do beyond the protocol."""
        return ServerMetadata(**dataplane.metadata())

    @get("V2", "/v2/health/live")
    async def live() -> Live:
        """Whether the server answers at all."""
        return Live(live=True)

    @get("V2", "/v2/health/ready")
    async def ready() -> Ready:
        """Whether every model can answer; 503 where one can't."""
        if not await dataplane.ready():
            raise ServerNotReady
        return Ready(ready=True)

    @get("V2", "/v2/models")
    @get("V1", "/v1/models")
    async def list_models() -> Models:
        """The names of the models."""
        return Models(models=list(dataplane.model_registry.get_models()))

    @get("V1", "/")
    async def alive() -> dict[str, str]:
        """Whether the server answers at all."""
        return await dataplane.live()


def _add_model_routes(get: Get, dataplane: DataPlane) -> None:
    @get("V2", MODEL)
    async def metadata(model_name: str) -> ModelMetadata:
        """What a model takes and answers, and what runs it."""
        return _metadata(dataplane, model_name)

    @get("V2", VERSION)
    async def metadata_of_version(model_name: str, model_version: str) -> ModelMetadata:
        """What one version of a model takes and answers, and what runs it."""
        return _metadata(dataplane, model_name, model_version)

    @get("V2", f"{MODEL}/ready")
    async def model_ready(model_name: str) -> ModelReady:
        """Whether a model can answer; 503 where it can't."""
        return await _ready(dataplane, model_name)

    @get("V2", f"{VERSION}/ready")
    async def version_ready(model_name: str, model_version: str) -> ModelReady:
        """Whether one version of a model can answer; 503 where it can't."""
        return await _ready(dataplane, model_name, model_version)

    @get("V1", "/v1/models/{model_name:name}")
    async def model_ready_v1(model_name: str) -> ModelReady:
        """Whether a model can answer; 503 where it can't."""
        return await _ready(dataplane, model_name)


def _metadata(dataplane: DataPlane, name: str, version: str | None = None) -> ModelMetadata:
    return ModelMetadata(**model_metadata(known_model(dataplane.model_registry, name, version), name))


async def _ready(dataplane: DataPlane, name: str, version: str | None = None) -> ModelReady:
    known_model(dataplane.model_registry, name, version)
    if not await dataplane.model_ready(name):
        raise ModelNotReady(name)
    return ModelReady(name=name, ready=True)

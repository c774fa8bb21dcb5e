"""What /openapi.json says: our routes, and what they take and answer. KServe's own routes are not offered."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.predictors.requests import TIMEOUT_HEADER
from serving.predictors.rest_v2 import HEADER_LENGTH, InferenceRequest
from serving.predictors.schemas import Error, InferenceResponse, Predictions
from serving.predictors.tensors import MAX_PHOTOS, QUANTITY

REF = "#/components/schemas/{model}"
BINARY = {"type": "string", "format": "binary"}
PHOTOS = ("image/jpeg", "image/png", "image/webp")
REFUSALS = (400, 404, 408, 413, 415, 429, 500, 503, 504)  # of a request for inference
V1_REQUEST = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_PHOTOS,
            "items": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {
                        "type": "object",
                        "required": ["b64"],
                        "properties": {"b64": {"type": "string", "format": "byte"}},
                        "additionalProperties": False,
                    },
                    QUANTITY: {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
                },
            },
        }
    },
}


def refusals(codes: Sequence[int]) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for FastAPI."""
    return {code: {"model": Error, "description": HTTPStatus(code).phrase} for code in codes}


def errors_of(path: str) -> dict[int | str, dict[str, Any]]:
    """The errors of a route that says what there is."""
    codes = [404] if "{model_name" in path else []
    return refusals([*codes, 503] if "ready" in path or path.startswith("/v1/models/") else codes)


def _answers(model: type[BaseModel], *, binary: bool) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}
    if binary:
        content["application/octet-stream"] = {"schema": BINARY}
    return {200: {"description": "The answer", "content": content}, **refusals(REFUSALS)}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "integer", "minimum": 0, **schema},
    }


_TIMEOUT = _header(TIMEOUT_HEADER, "Milliseconds that the request may take; 0 for no limit of the client's")

INFER: dict[str, Any] = {
    "responses": _answers(InferenceResponse, binary=True),
    "openapi_extra": {
        "parameters": [
            _header(HEADER_LENGTH, "Bytes of JSON, where binary tensors follow it", maximum=10**12 - 1),
            _TIMEOUT,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": REF.format(model="InferenceRequest")}},
                "application/octet-stream": {"schema": BINARY},
            },
        },
    },
}
PREDICT: dict[str, Any] = {
    "responses": _answers(Predictions, binary=False),
    "openapi_extra": {
        "parameters": [
            {
                "name": QUANTITY,
                "in": "query",
                "required": False,
                "description": "What was recorded for a photo that is the body; for bin counters",
                "schema": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            },
            _TIMEOUT,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": V1_REQUEST},
                **{kind: {"schema": BINARY} for kind in PHOTOS},
            },
        },
    },
}


def describe(app: FastAPI, router: APIRouter) -> None:
    """Let an app describe the routes of a router, and nothing else."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app, router)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to replace it


def _schema(app: FastAPI, router: APIRouter) -> dict[str, Any]:
    schema = get_openapi(title="stocktake predictors", version=app.version, routes=router.routes)
    schemas = schema["components"]["schemas"]
    for model in (InferenceRequest, InferenceResponse, Predictions):
        described = model.model_json_schema(ref_template=REF)
        schemas |= described.pop("$defs", {})
        schemas[model.__name__] = described
    # FastAPI adds an error of its own to every route that has a parameter.
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return schema

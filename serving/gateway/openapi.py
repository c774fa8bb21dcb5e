"""What /api/openapi.json says beyond what the routes' own types say: bodies, errors, tokens."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.gateway.batches import Order, OrderByUrls
from serving.gateway.intake import About
from serving.gateway.submission import ByUrl
from serving.gateway.views import Failure

OPEN = ("/healthz", "/readyz", "/metrics")
ERRORS = {  # of all routes that ask for a token, and of those that take photos
    "all": (400, 401, 403, 404, 429, 503),
    "submit": (408, 409, 413, 415, 504),
}
BINARY = {"type": "string", "format": "binary"}
REF = "#/components/schemas/{}"


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for model in (Failure, About, ByUrl, Order, OrderByUrls):
            schema = _schema(model)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(path, method, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    if path in OPEN:
        return
    operation["security"] = [{"token": []}]
    submits = method == "post" and path in BODIES
    for code in ERRORS["all"] + (ERRORS["submit"] if submits else ()):
        content = {"application/json": {"schema": {"$ref": REF.format(Failure.__name__)}}}
        operation["responses"][str(code)] = {"description": HTTPStatus(code).phrase, "content": content}
    if submits:
        operation["requestBody"] = {"required": True, "content": BODIES[path]}
    if path == "/api/photos" and method == "post":
        operation["responses"]["202"] = {**operation["responses"]["200"], "description": "queued"}
        operation["parameters"] += _query_of(About)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=REF.format("{model}"))


def _form(model: type[BaseModel], field: str, files: dict[str, Any]) -> dict[str, Any]:
    """The fields of a model, and files."""
    schema = _schema(model)
    schema.pop("$defs", None)
    schema["properties"] = {field: files, **schema["properties"]}
    schema["required"] = [field, *schema["required"]]
    return {"schema": schema}


def _query_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model, for bodies that are a photo and nothing else."""
    fields = _schema(model)["properties"].items()
    return [{"name": name, "in": "query", "required": False, "schema": field} for name, field in fields]


BODIES: dict[str, dict[str, Any]] = {
    "/api/photos": {
        "multipart/form-data": _form(About, "photo", BINARY),
        **{f"image/{kind}": {"schema": BINARY} for kind in ("jpeg", "png", "webp")},
        "application/json": {"schema": {"$ref": REF.format("ByUrl")}},
    },
    "/api/jobs": {
        "multipart/form-data": _form(Order, "photos", {"type": "array", "items": BINARY, "minItems": 1}),
        "application/json": {"schema": {"$ref": REF.format("OrderByUrls")}},
    },
}

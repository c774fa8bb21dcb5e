"""What a request that submits photos says, in whichever of the three forms it comes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import httpx
from fastapi import Header, Request
from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError

from serving.gateway.bodies import MAX_JSON, read_body, read_form
from serving.gateway.errors import UnsupportedMedia
from serving.gateway.fields import check_text
from serving.gateway.intake import About
from serving.gateway.remote import check_url
from serving.gateway.settings import GatewaySettings
from stocktake.errors import BadRequest

IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_text)] | None,
    Header(description="the same key and request again: the same answer again"),
]
Model = TypeVar("Model", bound=BaseModel)


class ByUrl(About):
    """A photo that the gateway fetches."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


@dataclass(frozen=True, slots=True)
class Sent:
    """One photo as a request has it: what is said of it, its file or where that is, and its name."""

    about: About
    file: bytes | httpx.URL
    name: str


def parse(model: type[Model], fields: Mapping[str, Any], where: str = "") -> Model:
    """Fields as a model.

    Raises:
        BadRequest: one of them is wrong; names it and never repeats it.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise BadRequest(explain(error, where)) from None


def explain(error: Any, where: str = "") -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    parts = [
        where,
        *(str(part)[:40] for part in first["loc"] if part not in ("body", "query", "path", "header")),
    ]
    place = ".".join(part for part in parts if part)
    said = first["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said


async def read_json(request: Request, model: type[Model], limit: int = MAX_JSON) -> Model:
    """The JSON body of a request, of up to `limit` bytes.

    Raises:
        BadRequest: it is not JSON, or not of this model.
    """
    body = await read_body(request, limit)
    try:
        return parse(model, _object(json.loads(body)))
    except (ValueError, RecursionError):
        raise BadRequest("the body is no JSON") from None


def _object(content: Any) -> Any:
    if not isinstance(content, dict):
        raise BadRequest("the body is JSON, but no object")
    return content


def media_type(request: Request) -> str:
    """That of the body, without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_photo(request: Request, settings: GatewaySettings) -> Sent:
    """One photo, from a form, a raw body or JSON with a URL, which is not fetched yet.

    Raises:
        BadRequest: and its subclasses, for what is wrong with it.
    """
    kind, max_bytes = media_type(request), settings.max_photo_bytes
    if kind == "multipart/form-data":
        return await _read_form(request, max_bytes)
    if kind == "application/json":
        by_url = await read_json(request, ByUrl)
        url = check_url(by_url.url, settings.photo_hosts, "url")
        return Sent(by_url, url, url.path)
    if kind.startswith("image/") or kind == "application/octet-stream":
        fields = dict(request.query_params)
        name = fields.pop("name", "")
        about = parse(About, fields)
        return Sent(about, await read_body(request, max_bytes), name)
    raise UnsupportedMedia(
        "Content-Type: send multipart/form-data with a `photo`, image/jpeg, or application/json with a url"
    )


async def _read_form(request: Request, max_bytes: int) -> Sent:
    fields: dict[str, str] = dict(request.query_params)
    data, name = None, ""
    async for part in read_form(request, 1, max_bytes):
        if part.filename is None:
            fields[part.name] = part.text
        elif part.name == "photo":
            data, name = part.data, part.filename
        else:
            raise BadRequest("the form has a file of another name; the photo is field `photo`")
    if data is None:
        raise BadRequest("photo: the form has no such file")
    return Sent(parse(About, fields), data, name)

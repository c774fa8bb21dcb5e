"""Bodies of REST requests and answers: read within limits, unpacked and packed."""

import asyncio
import math
import zlib
from collections.abc import Callable
from typing import TypeAlias

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving.predictors.errors import BodyTooLarge, ClientGone, SlowBody, UnsupportedMedia
from serving.predictors.parameters import whole_number
from stocktake.errors import BadRequest

# What is spoken in Content-Encoding and Accept-Encoding, and zlib's number for it; the first is preferred.
ENCODINGS = {"gzip": 31, "deflate": 15}
Hold: TypeAlias = Callable[[int], None]
PAUSE_S = 5.0  # without a byte, or behind the slowest rate
SLOWEST = 16 << 10  # bytes in a second
MIN_PACKED = 1024  # bytes; below it packing costs more than it saves


async def read_body(request: Request, limit: int, until: float, hold: Hold) -> bytearray:
    """The body of a request, unpacked.

    Args:
        request: one whose body was not read yet.
        limit: bytes, as they come and unpacked.
        until: the event loop's time.
        hold: told of the bytes as they come and are unpacked; may raise.

    Raises:
        BodyTooLarge: it is larger; where Content-Length says so, not a byte is read.
        UnsupportedMedia, BadRequest: it is packed in a way that we don't read, or damaged.
        SlowBody: it did not come in time, or stood still for PAUSE_S, or fell as far behind SLOWEST.
        ClientGone: the connection was closed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in ENCODINGS:
        raise UnsupportedMedia(f"Content-Encoding: send one of {', '.join(ENCODINGS)}, or none")
    announced = whole_number(request.headers.get("content-length", "0"))
    if announced is None or announced > limit:  # the server has seen to it that it is a number
        raise too_large(limit)
    try:
        async with asyncio.timeout_at(until) as clock:
            body = await _collect(request, limit, hold, clock)
    except TimeoutError:
        raise SlowBody(
            "the body did not come in time; send smaller photos, or send them without a pause of"
            f" {PAUSE_S:g} s and with {SLOWEST:,} bytes a second or more"
        ) from None
    except ClientDisconnect:
        raise ClientGone("the client closed its connection while it sent the body") from None
    if encoding == "identity":
        return body
    content = await asyncio.to_thread(unpack, body, encoding, limit)
    hold(len(content))
    return content


def unpack(body: bytes | bytearray, encoding: str, limit: int) -> bytearray:
    """Undo a Content-Encoding, one of ENCODINGS.

    Raises:
        BodyTooLarge: it unpacks to more than `limit` bytes; no more than that are unpacked.
        BadRequest: it is damaged, or goes on after its end.
    """
    stream = zlib.decompressobj(ENCODINGS[encoding])
    try:
        content = stream.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(f"Content-Encoding: the body is not {encoding}") from None
    if len(content) > limit:
        raise too_large(limit)
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"Content-Encoding: the body is cut off, or goes on after the end of its {encoding}")
    return bytearray(content)


def pack(content: bytes, accept_encoding: str) -> tuple[bytes, str | None]:
    """Pack the content of an answer if its reader wants that. Also returns the Content-Encoding, if any."""
    encoding = _wanted(accept_encoding) if len(content) >= MIN_PACKED else None
    if encoding is None:
        return content, None
    return zlib.compress(content, zlib.Z_BEST_SPEED, ENCODINGS[encoding]), encoding


def too_large(limit: int) -> BodyTooLarge:
    """The error of a body beyond the limit."""
    return BodyTooLarge(f"the body is larger than {limit:,} bytes; send fewer or smaller photos")


async def _collect(request: Request, limit: int, hold: Hold, clock: asyncio.Timeout) -> bytearray:
    """A body that makes no progress must not keep the place of another until the deadline: see PAUSE_S."""
    now, until, body = asyncio.get_running_loop().time, clock.when() or math.inf, bytearray()
    began = now()
    clock.reschedule(min(until, began + PAUSE_S))
    async for chunk in request.stream():
        if len(body) + len(chunk) > limit:
            raise too_large(limit)
        hold(len(chunk))
        body += chunk
        clock.reschedule(min(until, now() + PAUSE_S, began + PAUSE_S + len(body) / SLOWEST))
    return body


def _wanted(accept_encoding: str) -> str | None:
    refused = ("0", "0.0", "0.00", "0.000")  # the forms that RFC 9110 has for it
    offers = (part.replace(" ", "").lower().partition(";q=") for part in accept_encoding.split(","))
    accepted = {name for name, _, weight in offers if weight not in refused}
    return next((name for name in ENCODINGS if name in accepted), None)

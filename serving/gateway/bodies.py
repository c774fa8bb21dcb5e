"""Bodies of requests: read once, into memory, and no further than their limits."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from serving.gateway.errors import BodyTooLarge, ClientGone, SlowBody, UnsupportedMedia
from stocktake.errors import BadRequest

PAUSE_S = 30.0  # without a byte, or behind the slowest rate
SLOWEST = 8 << 10  # bytes in a second
MAX_FIELD = 16 << 10  # bytes of a field that is no file
MAX_JSON = 64 << 10
MAX_URLS_JSON = 1 << 20  # of a job by URLs, which has a place among the uploads
MAX_FIELDS = 64  # that describe a photo, or all of them


@dataclass(slots=True)
class Part:
    """A field of a form; a file where it has a file name."""

    name: str
    filename: str | None
    file: io.BytesIO = field(default_factory=io.BytesIO)

    @property
    def size(self) -> int:
        """Bytes that are in it."""
        return self.file.tell()

    @property
    def data(self) -> bytes:
        """What is in it; no copy is made."""
        return self.file.getvalue()

    @property
    def text(self) -> str:
        """The same as text.

        Raises:
            BadRequest: it is not UTF-8.
        """
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"field {self.name[:40]!r}: not text in UTF-8") from None


async def read_body(request: Request, limit: int) -> bytes:
    """A whole body.

    Raises:
        BodyTooLarge: of more bytes than `limit`; where Content-Length says so, not a byte is read.
        SlowBody, ClientGone: it does not come.
    """
    _check_length(request, limit)
    body = io.BytesIO()
    async for block in _stream(request):
        if body.tell() + len(block) > limit:
            raise _too_large(limit)
        body.write(block)
    return body.getvalue()  # no copy, as a join of blocks would be


async def read_form(request: Request, max_files: int, max_file: int) -> AsyncIterator[Part]:
    """The parts of a multipart/form-data body, each as soon as it is whole.

    Raises:
        BodyTooLarge: a part is larger than it may be, or there are too many.
        BadRequest: it is no form. And as `read_body`.
    """
    parser = _FormParser(request.headers.get("content-type", ""), max_files, max_file)
    _check_length(request, max_files * max_file + MAX_FIELDS * MAX_FIELD * max_files)
    async for block in _stream(request):
        for part in parser.feed(block):
            yield part
    parser.end()


class _FormParser:
    def __init__(self, content_type: str, max_files: int, max_file: int):
        _, options = parse_options_header(content_type)
        self._left = {"files": max_files, "fields": MAX_FIELDS + 8 * max_files}
        self._max_file = max_file
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._part = Part("", None)
        self._whole: list[Part] = []
        self._ended = False
        calls = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._add,
            "on_part_end": lambda: self._whole.append(self._part),
            "on_end": self._finish,
        }
        try:
            self._parser = MultipartParser(options[b"boundary"], calls)  # type: ignore[arg-type]
        except (KeyError, FormParserError):
            raise BadRequest("Content-Type: multipart/form-data without a usable boundary") from None

    def feed(self, block: bytes) -> list[Part]:
        """The parts that end in this block."""
        self._whole = []
        try:
            self._parser.write(block)
        except FormParserError:
            raise BadRequest("the body is no multipart/form-data") from None
        return self._whole

    def end(self) -> None:
        """Raise BadRequest where the body has ended too early."""
        if not self._ended:
            raise BadRequest("the body ends before the form does; send it whole")

    def _begin(self) -> None:
        self._header, self._disposition = (bytearray(), bytearray()), b""

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        name, filename = options.get(b"name"), options.get(b"filename")
        if name is None:
            raise BadRequest("a part of the form has no name")
        kind = "fields" if filename is None else "files"
        self._left[kind] -= 1
        if self._left[kind] < 0:
            raise BodyTooLarge(f"the form has too many {kind}; send fewer at a time")
        self._part = Part(
            name.decode(errors="replace"), None if filename is None else filename.decode(errors="replace")
        )

    def _add(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        limit = MAX_FIELD if part.filename is None else self._max_file
        if part.size + end - start > limit:
            raise BodyTooLarge(f"field {part.name[:40]!r} is larger than {limit:,} bytes")
        part.file.write(data[start:end])

    def _finish(self) -> None:
        self._ended = True


def _check_length(request: Request, limit: int) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("Content-Encoding: bodies are taken as they are; photos are packed already")
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced[:20]) > limit:
        raise _too_large(limit)


async def _stream(request: Request) -> AsyncIterator[bytes]:
    """The blocks of a body; what the gateway does between two of them is not the client's time."""
    blocks, clock = request.stream(), asyncio.get_running_loop().time
    waited_s, size = 0.0, 0
    while True:
        began = clock()
        try:
            async with asyncio.timeout(min(PAUSE_S, PAUSE_S + size / SLOWEST - waited_s)):
                block = await anext(blocks, None)
        except TimeoutError:
            raise SlowBody(
                f"nothing came for {PAUSE_S:.0f} s, or less than {SLOWEST:,} bytes a second; send it faster"
            ) from None
        except ClientDisconnect:
            raise ClientGone("the client closed its connection while it sent the body") from None
        if block is None:
            return
        waited_s, size = waited_s + clock() - began, size + len(block)
        yield block


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit:,} bytes; send fewer or smaller photos")

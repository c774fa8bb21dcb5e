"""A light HTTP/1.1 client: asyncio, a parser in C, connections that are kept; 0.1 ms of processor a request.

Client and server share the cores of a benchmark, so what the client takes the server lacks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httptools

TIMEOUT_SECONDS = 60.0
BROKEN, TIMEOUT = "broken", "timeout"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status as text, or `broken`, `timeout`; and what came with it."""

    code: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        self.open = True
        self._transport: Any = None
        self._parser: Any = None
        self._answer: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self._headers: dict[str, str] = {}

    async def ask(self, message: bytes) -> Answer:
        """Send a request, whole or its beginning, and return the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser, self._body, self._headers = httptools.HttpResponseParser(self), [], {}
        self._transport.write(message)
        return await self._answer

    def send(self, piece: bytes) -> None:
        """Send what follows the beginning of a request."""
        if self.open:
            self._transport.write(piece)

    def close(self) -> None:
        """Let go at once, whatever is under way."""
        self.open = False
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.open = False
        self._finish(Answer(BROKEN))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            if self._parser:
                self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
            self._finish(Answer(BROKEN))

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status == 100:  # go on; the real answer follows
            return
        if not self._parser.should_keep_alive():
            self.open = False
        self._finish(Answer(str(status), b"".join(self._body), self._headers))

    def _finish(self, answer: Answer) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(answer)


class HttpClient:
    """Asks one server; each request takes a free connection or opens another."""

    def __init__(self, port: int, host: str = "127.0.0.1"):
        self._address = host, port
        self._idle: list[Connection] = []

    async def ask(self, message: bytes, timeout: float = TIMEOUT_SECONDS) -> Answer:
        """Send a whole request and return the answer."""
        connection = None
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connection()
                answer = await connection.ask(message)
        except TimeoutError:
            answer = Answer(TIMEOUT)
            if connection:
                connection.close()
        except OSError:
            answer = Answer(BROKEN)
        if connection and connection.open:
            self._idle.append(connection)
        return answer

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return await connect(*self._address)


async def connect(host: str, port: int) -> Connection:
    """A new connection. Raises OSError."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection

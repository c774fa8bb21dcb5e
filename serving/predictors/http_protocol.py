"""HTTP connections: what ends before a route sees it is answered like all else; none is held for long."""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from starlette.responses import JSONResponse
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.predictors.errors import Overloaded
from serving.predictors.metrics import count_refusal, rest_protocol
from serving.predictors.rest_errors import error_response

MAX_HEADER_BYTES = 64 << 10  # of all lines; nothing below limits them
LONG_HEADER = f"the header has more than {MAX_HEADER_BYTES:,} bytes"


class JsonErrorProtocol(HttpToolsProtocol):
    """Uvicorn's, which answers some errors in plain text, and waits for ever for a request that has begun.

    The header of a request must be there within the keep-alive time after the connection was opened, or after
    the answer before it; a body that was refused may go on for as long.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes of a header, of a trailer or between the chunks of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_header()

    def data_received(self, data: bytes) -> None:
        """Read on. Some clients ask for HTTP/2 in their first request, whose body Uvicorn then loses."""
        self._unset_keepalive_if_required()
        self._unread += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("this is not HTTP/1.1")
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        else:
            if self._unread > MAX_HEADER_BYTES:
                self._answer_and_close(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, LONG_HEADER)

    def on_headers_complete(self) -> None:
        """A request is there; one whose header came as a whole, and is too long, is refused by its app."""
        app = self.app
        if self._unread > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self.app = _long_header
        self._unread = 0
        self._stop_waiting()
        super().on_headers_complete()
        self.app = app

    def on_body(self, body: bytes) -> None:
        """A part of a body is there."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        self._unread = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads too little of what it is sent; give it some time."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._stop_write_timer()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, unless it is there already."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait_for_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._stop_write_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has an impossible Content-Length, and close.

        What follows such a request can't be told from its body, so this error ends a connection.
        """
        self._answer_and_close(HTTPStatus.BAD_REQUEST, msg)

    def _answer_and_close(self, status: HTTPStatus, message: str) -> None:
        if self._may_answer():
            body = orjson.dumps({"error": message})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head % len(body) + body)
            if self.cycle is not None:  # whoever reads its body is told that there comes no more
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether what is wrong is the request that is answered next, and its answer has not begun."""
        if self.cycle is None or self.cycle.response_complete:
            return True
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(b": \r\n") + len(value) for name, value in self.headers)

    def _should_upgrade(self) -> bool:
        """Whether a request that asks for another protocol is left to `_read_without_upgrade`."""
        return True

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Read a request again as if it did not ask for another protocol; `rest` came after its header."""
        method = self.scope["method"]
        if method == "CONNECT":  # it always asks for one
            self.send_400_response("this is no proxy")
            return
        headers = (b"%s: %s" % header for header in self.headers if header[0] != b"upgrade")
        head = b"\r\n".join([b"%s %s HTTP/1.1" % (method.encode(), self.url), *headers, b"", b""])
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Refuse requests on more connections than there may be, except those that watch the server."""
        if app is service_unavailable:
            app = self.app if _watches(cycle.scope["path"]) else _too_many_connections
        super()._start_asgi_task(cycle, app)

    def _wait_for_header(self) -> None:
        self._stop_waiting()
        self._header_timer = self.loop.call_later(self.timeout_keep_alive, self._close)

    def _close(self) -> None:
        self.transport.close()  # which waits until all is sent
        self._write_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()


def _watches(path: str) -> bool:
    return path == "/metrics" or path.startswith("/v2/health/") or path.endswith("/ready")


async def _long_header(scope: Any, receive: Any, send: Any) -> None:
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    response = JSONResponse({"error": LONG_HEADER}, status, {"connection": "close"})
    await response(scope, receive, send)


async def _too_many_connections(scope: Any, receive: Any, send: Any) -> None:
    error = Overloaded(1)
    count_refusal(error, rest_protocol(scope["path"]))
    response = error_response(error)
    response.headers["connection"] = "close"  # there are too many of them
    await response(scope, receive, send)

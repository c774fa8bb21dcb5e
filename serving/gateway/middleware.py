"""Around every request: its id, its line in the log, its place in the metrics, the headers of its answer."""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.http_errors import FAULT, METHODS, answer_error
from serving.gateway.metrics import REQUEST_SECONDS, REQUESTS
from serving.logs import REQUEST_ID_HEADER, begin_request, bind_request

QUIET = ("/healthz", "/readyz", "/metrics")  # asked every few seconds
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
}

logger = logging.getLogger(__name__)


class Observed:
    """Wraps an application."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault of ours is a 500 that tells nothing but its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin_request(Headers(scope=scope))
        began, code = time.perf_counter(), 0

        async def observed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                _finish(scope, code, time.perf_counter() - began)
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
                headers[REQUEST_ID_HEADER] = bind_request(None)
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            logger.exception("a request failed")
            if code:  # an answer has begun: the connection is closed, so that nobody takes it for whole
                raise
            await answer_error(Request(scope), 500, FAULT, {})(scope, receive, observed)


def _finish(scope: Scope, code: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "")
    method = scope["method"] if scope["method"] in METHODS else "other"
    REQUESTS.labels(route, method, str(code)).inc()
    REQUEST_SECONDS.labels(route, method).observe(seconds)
    if scope["path"] not in QUIET:
        logger.info("%s %s %d in %.1f ms", method, scope["path"], code, seconds * 1000)

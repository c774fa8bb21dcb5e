"""A port where a worker says how it is: /healthz, /readyz and /metrics.

It is served by a thread of its own, so that a worker whose event loop hangs can say so.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

HANGS_S = 30.0  # without a beat

Problem = Callable[[], str | None]  # why the worker cannot work now


class Heart:
    """Beats as long as the event loop turns."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beat(self) -> None:
        """The loop is here."""
        self._last = time.monotonic()

    def problem(self) -> str | None:
        """Whether it was not here for too long."""
        silent_s = time.monotonic() - self._last
        return f"the event loop hangs since {silent_s:.0f} s" if silent_s > HANGS_S else None


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A probe every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


@contextmanager
def serve_probes(
    host: str, port: int, registry: CollectorRegistry, probes: dict[str, Problem]
) -> Iterator[None]:
    """Serve `/metrics` and each of the probes: 200 without a problem, 503 with its words.

    Raises:
        OSError: the port is taken.
    """
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start)
        if environ["PATH_INFO"] not in probes:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found\n"]
        problem = probes[environ["PATH_INFO"]]()
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        return [f"{problem or 'ok'}\n".encode()]

    with make_server(host, port, answer, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()

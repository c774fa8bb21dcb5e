"""A server's life: it starts ready, reloads on SIGHUP and drains on SIGTERM.

ready       every model is loaded and warmed up
draining    not ready, so that nothing new is sent here; what comes is answered all the same, and each REST
            answer asks its client to connect anew, which by then is elsewhere
ended       no new connections, what was accepted is answered within the grace period
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from fastapi import FastAPI
from kserve.protocol.rest.server import RESTServer, _RefreshingServer, metrics_handler
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.predictors.rest_errors import answering_router

logger = logging.getLogger(__name__)


class DrainMiddleware:
    """Asks clients to close their connections while the server drains."""

    def __init__(self, app: ASGIApp, draining: Event):
        """`draining` is set when the server is about to end."""
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining.is_set():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing)


class UvicornWithoutSignals(_RefreshingServer):
    """Uvicorn takes SIGTERM for itself, and closes its port at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class RestServer(RESTServer):
    """KServe's, ended by `stop`."""

    def __init__(self, *args: Any, max_connections: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.config.limit_concurrency = max_connections
        self._server = UvicornWithoutSignals(self.config)

    def _add_middlewares(self, app: FastAPI) -> None:
        """KServe's would time each request for a log that nobody asked for, at a quarter of a millisecond."""

    def _register_endpoints(self, app: FastAPI) -> None:
        """Those that `rest` lacks: KServe's others answer methods that ours refuse, and read any body."""
        router = answering_router()
        router.add_api_route("/metrics", metrics_handler)
        models = self.model_repository_extension
        for verb, answer in (("load", models.load), ("unload", models.unload)):
            router.add_api_route(f"/v2/repository/models/{{model_name}}/{verb}", answer, methods=["POST"])
        app.include_router(router)

    def stop(self) -> None:
        """Accept no new connections, and end when those that there are have been answered."""
        self._server.should_exit = True


async def wait_for_signal(
    reload: Callable[[], Coroutine[Any, Any, None]], *servers: asyncio.Task[Any]
) -> bool:
    """Wait for SIGTERM or SIGINT, or for one of `servers` to end; call `reload` on each SIGHUP.

    Returns:
        Whether it was SIGINT: a person at a keyboard, for whom nobody has to be told.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[bool] = loop.create_future()

    def end(was_interrupted: bool) -> None:
        if not told.done():
            told.set_result(was_interrupted)

    loop.add_signal_handler(signal.SIGTERM, end, False)
    loop.add_signal_handler(signal.SIGINT, end, True)
    reloads: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected

    def begin_reload() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, begin_reload)
    await asyncio.wait([told, *servers], return_when=asyncio.FIRST_COMPLETED)
    for (
        task
    ) in reloads:  # the model that is being loaded is finished, for a thread can't be ended; no other is
        task.cancel()
    return told.done() and told.result()

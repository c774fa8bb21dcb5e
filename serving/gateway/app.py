"""The HTTP application: middleware, errors, routes."""

from asyncio import Semaphore
from typing import Any

import uvicorn
from anyio import CapacityLimiter
from fastapi import FastAPI

from serving.gateway.access import Access
from serving.gateway.admission import Admission
from serving.gateway.gateway import Gateway
from serving.gateway.http_errors import add_error_handlers
from serving.gateway.middleware import Observed
from serving.gateway.openapi import describe
from serving.gateway.rates import Rates
from serving.gateway.routes import (
    admin,
    alerts,
    bays,
    drift,
    events,
    feedback,
    health,
    jobs,
    photos,
    results,
)
from serving.gateway.web.routes import add_pages

GRACE_S = 30  # that requests have to end after SIGTERM
KEEP_ALIVE_S = 75  # for cameras that send a photo every minute
PICTURES_AT_ONCE = 4  # whose photos are read from the store and held
DRAWN_AT_ONCE = 2  # of them; each takes a core


def create_app(gateway: Gateway, access: Access) -> FastAPI:
    """The application over an open gateway, which has to stay open as long as it is served."""
    app = describe_app()
    app.state.gateway, app.state.access = gateway, access
    app.state.rates = Rates(gateway.settings.requests_per_minute)
    app.state.followers = Semaphore(events.MOST)
    app.state.admission = Admission(gateway.settings.uploads, gateway.settings.max_bodies_bytes)
    app.state.pictures = CapacityLimiter(PICTURES_AT_ONCE)
    app.state.drawing = CapacityLimiter(DRAWN_AT_ONCE)
    add_error_handlers(app)
    app.add_middleware(Observed)
    return app


def describe_app() -> FastAPI:
    """The routes, with nothing behind them.

    There are no pages of documentation, whose scripts would come from elsewhere; /api/openapi.json is there.
    """
    app = FastAPI(
        title="stocktake", version="1", openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    for routes in (health, photos, jobs, events, results, alerts, feedback, bays, drift, admin):
        app.include_router(routes.router)
    add_pages(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def create_server(app: FastAPI, **where: Any) -> uvicorn.Server:
    """A server of the application, which writes its own log; `where`: see uvicorn.Config."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        **where,
    )
    return uvicorn.Server(config)

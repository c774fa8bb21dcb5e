"""The HTTP application: middleware, errors, routes."""

from fastapi import FastAPI

from serving.gateway.access import Access
from serving.gateway.gateway import Gateway
from serving.gateway.http_errors import add_error_handlers
from serving.gateway.rates import Rates
from serving.gateway.routes import alerts, bays, feedback, health, photos


def create_app(gateway: Gateway, access: Access) -> FastAPI:
    """The application over an open gateway, which has to stay open as long as it is served."""
    app = FastAPI(
        title="stocktake", version="1", openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.gateway, app.state.access = gateway, access
    app.state.rates = Rates(gateway.settings.requests_per_minute)
    add_error_handlers(app)
    for routes in (health, photos, alerts, feedback, bays):
        app.include_router(routes.router)
    return app

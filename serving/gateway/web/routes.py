"""All pages, for an application to include."""

from fastapi import APIRouter, FastAPI

from serving.gateway.web import alerts, cameras, checking, jobs, looking, marking, session
from serving.gateway.web.pages import mount_static


def add_pages(app: FastAPI) -> None:
    """Add the pages and the files that they use."""
    router = APIRouter()
    for pages in (session, checking, looking, marking, alerts, cameras, jobs):
        router.include_router(pages.router)
    app.include_router(router)
    mount_static(app)

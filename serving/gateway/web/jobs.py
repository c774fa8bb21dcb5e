"""Jobs: how far they are, and their photos that were given up, to be tried again."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from serving.gateway.dependencies import GatewayOf
from serving.gateway.errors import NotFound
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.history import find_first_photos, find_job, find_job_photos, find_jobs
from serving.gateway.routes.jobs import retry
from serving.gateway.web.pages import render
from serving.gateway.web.session import AdminFields, Reader

PAGE = 30
PHOTOS = 60  # of a job on a page

router = APIRouter(include_in_schema=False)


@router.get("/jobs")
def jobs_page(
    request: Request,
    gateway: GatewayOf,
    who: Reader,
    cursor: Cursor = "",
) -> Response:
    """All jobs, newest first."""
    with gateway.records.read() as session:
        page = find_jobs(session, None, who.user.stores, cursor, PAGE)
        first = find_first_photos(session, [summary.job.id for summary in page.items])
    return render(request, "jobs.html", page=page, cursor=cursor, first=first)


@router.get("/jobs/{job_id}")
def job_page(
    request: Request,
    gateway: GatewayOf,
    who: Reader,
    job_id: str,
    begin: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """One job and its photos, as they are answered; `begin`: how many come before this page."""
    with gateway.records.read() as session:
        summary = find_job(session, job_id, who.user.stores)
        if summary is None:
            raise NotFound("there is no such job, or it has photos of a store that you may not see")
        photos = find_job_photos(session, job_id, begin, PHOTOS)
    return render(request, "job.html", summary=summary, photos=photos, begin=begin, step=PHOTOS)


@router.post("/jobs/{job_id}/retry")
async def retry_page(gateway: GatewayOf, who: Reader, _fields: AdminFields, job_id: str) -> Response:
    """Try photos again that were given up."""
    await retry(gateway, who.user, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)

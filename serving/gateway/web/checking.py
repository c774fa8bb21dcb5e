"""The first page and the page of bins: photos are handed in here, with script or without."""

from collections.abc import Sequence
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from serving.gateway.access import check_csrf
from serving.gateway.bodies import Part, read_form
from serving.gateway.dependencies import GatewayOf
from serving.gateway.gateway import Gateway
from serving.gateway.intake import About
from serving.gateway.records.history import PhotoFilter, find_photos, find_places
from serving.gateway.records.tables import Photo, Task
from serving.gateway.routes.photos import take
from serving.gateway.submission import parse
from serving.gateway.web.pages import is_page, render
from serving.gateway.web.session import Reader, Submitter, Visitor
from stocktake.errors import BadRequest

LATEST = 8  # photos on the first page
BATCH = 8  # photos that the script sends at a time, so that a lost connection costs no more

router = APIRouter(include_in_schema=False)


@router.get("/")
def first_page(request: Request, gateway: GatewayOf, who: Reader) -> Response:
    """Hand in photos, and the newest results."""
    return render(request, "check.html", problems=[], **latest(gateway, who))


@router.post("/check")
async def check(request: Request, gateway: GatewayOf, who: Submitter) -> Response:
    """Take photos from the form, and show what was found on them."""
    about, files = await _read(request, gateway, who)
    about.check(who.user)
    key = request.headers.get("idempotency-key") or None
    if len(files) > 1 and gateway.has_queue:
        job = await submit(gateway, who.user, about, files, key)
        return _answer(request, f"/jobs/{job.id}", job.photos)
    taken, problems = [], []
    for part in files:
        try:
            taken.append(await take(gateway, who.user, about, part.data, part.filename or "", key))
        except BadRequest as error:
            if len(files) == 1:
                raise
            problems.append((part.filename, str(error)))
    if problems:
        context = await to_thread.run_sync(latest, gateway, who)
        return render(request, "check.html", 400, problems=problems, **context)
    return _answer(request, f"/photos/{taken[0].id}" if len(taken) == 1 else "/#latest", taken)


def latest(gateway: Gateway, who: Visitor, task: Task | None = None) -> dict[str, Any]:
    """The newest photos, and what the form that hands in more proposes."""
    stores = who.user.stores
    with gateway.records.read() as session:
        page = find_photos(session, PhotoFilter(task=task, stores=stores), limit=LATEST)
        places = find_places(session, stores)
    proposed = sorted(stores)[:1] if stores else [photo.store for photo in page.items[:1]]
    return {
        "page": page,
        "places": places,
        "store": "".join(proposed),
        "batch": BATCH if gateway.has_queue else 1,
        "max_mb": gateway.settings.max_photo_bytes >> 20,
    }


def _answer(request: Request, path: str, photos: Sequence[Photo]) -> Response:
    """The script is told the photos; a form goes on to their page."""
    if is_page(request):
        return RedirectResponse(path, 303)
    return JSONResponse(
        {"job": photos[0].job_id, "photos": [{"id": photo.id, "state": photo.state} for photo in photos]}
    )


async def _read(request: Request, gateway: Gateway, who: Visitor) -> tuple[About, list[Part]]:
    """What the form says of the photos, and their files; none is read before the form is known as ours."""
    settings, fields, files = gateway.settings, dict[str, str](), list[Part]()
    most = settings.max_photos if gateway.has_queue else BATCH
    async for part in read_form(request, most, settings.max_photo_bytes):
        if part.filename is None:
            fields[part.name] = part.text
        elif "csrf" not in fields:
            break
        elif part.size:  # browsers send an empty one for an input without a file
            files.append(part)
    check_csrf(who.user, who.session, fields.pop("csrf", ""))
    if fields.get("task") != Task.BINS:
        fields.pop("expected_quantity", None)  # of a field that is not shown
    about = parse(About, fields)
    if not files:
        raise BadRequest("no photo was chosen; go back and choose one")
    return about, files

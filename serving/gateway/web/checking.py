"""The first page and the page of bins: photos are handed in here, with script or without."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from serving.gateway.dependencies import GatewayOf, upload
from serving.gateway.fields import Name, clean_file_name
from serving.gateway.gateway import Gateway
from serving.gateway.records.bays import find_mismatches
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.history import PhotoFilter, find_photos
from serving.gateway.records.places import find_bay_names, find_stores
from serving.gateway.records.tables import Task
from serving.gateway.submission import IdempotencyKey
from serving.gateway.web.pages import Visitor, is_page, render
from serving.gateway.web.session import Reader, Submitter
from serving.gateway.web.uploads import take_form

DOUBTED = 20  # bins on a page
LATEST = 6  # photos on the first page
BATCH = 8  # photos that the script sends at a time, so that a lost connection costs no more

router = APIRouter(include_in_schema=False)


@router.get("/")
def first_page(request: Request, gateway: GatewayOf, who: Reader) -> Response:
    """Hand in photos, and the newest results."""
    return render(request, "check.html", refused=[], **latest(gateway, who))


@router.post("/check", dependencies=[upload(Submitter)])
async def check(
    request: Request, gateway: GatewayOf, who: Submitter, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take photos from the form, and show what was found on them."""
    taken = await take_form(request, gateway, who, idempotency_key)
    photos = taken.photos
    if len(taken.refused) == 1 and not photos:
        name, error = taken.refused[0]
        raise type(error)(f"{clean_file_name(name)}: {error}")
    if taken.refused:
        context = await to_thread.run_sync(latest, gateway, who)
        return render(request, "check.html", 400, refused=taken.refused, **context)
    if not is_page(request):
        states = [{"id": photo.id, "state": photo.state} for photo in photos]
        return JSONResponse({"job": photos[0].job_id, "photos": states})
    if len(photos) == 1:
        return RedirectResponse(f"/photos/{photos[0].id}", 303)
    is_one = len({photo.job_id for photo in photos}) == 1
    return RedirectResponse(f"/jobs/{photos[0].job_id}" if is_one else "/#latest", 303)


@router.get("/bins")
def bins_page(
    request: Request,
    gateway: GatewayOf,
    who: Reader,
    store: Name = "",
    cursor: Cursor = "",
) -> Response:
    """Verify bins, and those whose record is doubted."""
    stores = who.user.stores
    with gateway.records.read() as session:
        doubted = find_mismatches(session, store or None, stores, cursor or None, DOUBTED)
    context = latest(gateway, who, Task.BINS)
    return render(request, "bins.html", doubted=doubted, cursor=cursor, **context)


def latest(gateway: Gateway, who: Visitor, task: Task | None = None) -> dict[str, Any]:
    """The newest photos, and what the form that hands in more proposes."""
    stores = who.user.stores
    with gateway.records.read() as session:
        page = find_photos(session, PhotoFilter(task=task, stores=stores), limit=LATEST)
        known = {"stores": find_stores(session, stores), "bays": find_bay_names(session, stores)}
    proposed = sorted(stores)[:1] if stores else [photo.store for photo in page.items[:1]]
    return {
        "page": page,
        "known": known,
        "store": "".join(proposed),
        "batch": BATCH if gateway.queue else 1,
        "max_mb": gateway.settings.max_photo_bytes >> 20,
    }

"""One photo with what was found on it, and the history of all."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict

from serving.gateway.dependencies import GatewayOf
from serving.gateway.fields import Blank, Name
from serving.gateway.gateway import Gateway
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.feedback import of_photo
from serving.gateway.records.history import PhotoFilter, find_photos
from serving.gateway.records.places import find_bay_names, find_stores
from serving.gateway.records.tables import Feedback, State, Task
from serving.gateway.routes.feedback import FeedbackBody, keep
from serving.gateway.submission import parse
from serving.gateway.web import words
from serving.gateway.web.marking import load, marks_of
from serving.gateway.web.pages import render
from serving.gateway.web.session import Fields, Reader
from stocktake.bins.verification import Verdict
from stocktake.errors import BadRequest

PAGE = 30  # photos of the history at a time

router = APIRouter(include_in_schema=False)


class Asked(BaseModel):
    """The filters of the history, as its form sends them: empty = all; days are UTC."""

    model_config = ConfigDict(extra="forbid")

    task: Annotated[Task | None, Blank] = None
    store: Name = ""
    bay: Name = ""
    state: Annotated[State | None, Blank] = None
    verdict: Annotated[Verdict | None, Blank] = None
    since: Annotated[date | None, Blank] = None
    until: Annotated[date | None, Blank] = None  # this day, too
    cursor: Cursor = ""

    @property
    def query(self) -> str:
        """The filters as a query, without the page."""
        return urlencode(self.model_dump(mode="json", exclude_defaults=True, exclude={"cursor"}))


@router.get("/photos/{photo_id}")
def photo_page(request: Request, gateway: GatewayOf, who: Reader, photo_id: str) -> Response:
    """The photo, overlays, the refill list."""
    photo, feedback = load(gateway, who, photo_id, with_products=True), _feedback(gateway, photo_id)
    found = words.refill_list(photo.report) if photo.report and photo.task == Task.SHELVES else []
    return render(
        request,
        "photo.html",
        photo=photo,
        found=found,
        outline=words.outline(photo.products or ()),
        products=len(photo.products or ()),
        marks=marks_of(photo, feedback, len(found)),
        verdicts={one.void: one.verdict for one in feedback},
        counted=next((one for one in feedback if one.verdict == "count"), None),
    )


@router.get("/photos/{photo_id}/row")
def photo_row(request: Request, gateway: GatewayOf, who: Reader, photo_id: str) -> Response:
    """One line of a list, which the script puts in when the photo is answered."""
    return render(request, "row.html", photo=load(gateway, who, photo_id))


@router.post("/photos/{photo_id}/feedback")
def give_feedback(gateway: GatewayOf, who: Reader, fields: Fields, photo_id: str) -> Response:
    """Keep what somebody says about a void, or how many items a bin has."""
    back = fields.pop("back", "")
    said = parse(FeedbackBody, fields)
    keep(gateway, who.user, photo_id, said.said())
    return RedirectResponse(f"/photos/{photo_id}#{quote(back)}", 303)


@router.get("/history")
def history_page(
    request: Request, gateway: GatewayOf, who: Reader, asked: Annotated[Asked, Query()]
) -> Response:
    """Photos, newest first."""
    wanted = PhotoFilter(
        task=asked.task,
        store=asked.store or None,
        bay=asked.bay or None,
        state=asked.state,
        verdict=asked.verdict,
        since=_midnight(asked.since, 0),
        until=_midnight(asked.until, 1),
        stores=who.user.stores,
    )
    with gateway.records.read() as session:
        page = find_photos(session, wanted, asked.cursor, PAGE)
        stores, bays = find_stores(session, who.user.stores), find_bay_names(session, who.user.stores)
    return render(
        request,
        "history.html",
        page=page,
        stores=stores,
        bays=bays,
        asked=asked,
        csv_query=_api_query(wanted),
        states=words.STATES,
        bin_verdicts=words.VERDICTS,
    )


def _feedback(gateway: Gateway, photo_id: str) -> Sequence[Feedback]:
    with gateway.records.read() as session:
        return of_photo(session, photo_id)


def _api_query(wanted: PhotoFilter) -> str:
    """The same filter, as the API has it."""
    fields = ("task", "store", "bay", "state", "verdict")
    asked = {name: value for name in fields if (value := getattr(wanted, name))}
    times = {name: f"{at.isoformat()}Z" for name in ("since", "until") if (at := getattr(wanted, name))}
    return urlencode(asked | times)


def _midnight(day: date | None, later: int) -> datetime | None:
    """At which a day begins, or one that is `later` by so many days."""
    try:
        return None if day is None else datetime.combine(day + timedelta(days=later), time())
    except OverflowError:
        raise BadRequest("until: is no day on which a photo can be taken") from None

"""Alerts and bays: which places are empty, since when, and how full the shelves were."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict

from serving.gateway import alerts
from serving.gateway.dependencies import GatewayOf
from serving.gateway.errors import NotFound
from serving.gateway.fields import Name
from serving.gateway.records.alerts import TOLD, AlertFilter, find_alerts
from serving.gateway.records.bays import find_bays
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.history import PhotoFilter, find_photos
from serving.gateway.records.places import find_stores
from serving.gateway.records.tables import Task, now
from serving.gateway.submission import parse
from serving.gateway.web import chart, words
from serving.gateway.web.pages import local_path, render
from serving.gateway.web.session import Fields, Reader
from stocktake.alerts.rules import AlertState

PAGE = 30
OVER = (AlertState.CLOSED, AlertState.DISMISSED)
NAPS = {
    "snoozed 4h": timedelta(hours=4),
    "snoozed 1d": timedelta(days=1),
    "snoozed 7d": timedelta(days=7),
}

router = APIRouter(include_in_schema=False)


class Asked(BaseModel):
    """Which alerts, as the form of their page sends it; empty = all."""

    model_config = ConfigDict(extra="forbid")

    store: Name = ""
    bay: Name = ""
    which: Literal["", "over"] = ""
    cursor: Cursor = ""


class Change(BaseModel):
    """What somebody makes of an alert, which the button says; `back`: the page that it is on."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "acknowledged", "closed", "dismissed", "snoozed 4h", "snoozed 1d", "snoozed 7d"]
    back: str = "/alerts"


@router.get("/alerts")
def alerts_page(
    request: Request, gateway: GatewayOf, who: Reader, asked: Annotated[Asked, Query()]
) -> Response:
    """Empty places that somebody has to fill, the worst first."""
    wanted = AlertFilter(
        moment=now(),
        store=asked.store or None,
        bay=asked.bay or None,
        states=OVER if asked.which else TOLD,
        stores=who.user.stores,
    )
    with gateway.records.read() as session:
        page = find_alerts(session, wanted, asked.cursor or None, PAGE)
        stores = find_stores(session, who.user.stores)
    query = asked.model_dump(exclude_defaults=True, exclude={"cursor"})
    place = urlencode({name: value for name, value in query.items() if name in ("store", "bay")})
    context: dict[str, Any] = {"asked": asked, "query": query, "csv_query": place}
    return render(request, "alerts.html", page=page, stores=stores, **context)


@router.post("/alerts/{alert_id}")
def change_alert(gateway: GatewayOf, who: Reader, fields: Fields, alert_id: str) -> Response:
    """Acknowledge an alert, let it sleep, or end it."""
    wanted = parse(Change, fields)
    nap = NAPS.get(wanted.state)
    state = AlertState(wanted.state.partition(" ")[0])
    until = now() + nap if nap else None
    with gateway.records.write() as session:
        alerts.change(session, alert_id, state, who.user.name, who.user.stores, until)
    return RedirectResponse(local_path(wanted.back), 303)


@router.get("/bays")
def bays_page(
    request: Request,
    gateway: GatewayOf,
    who: Reader,
    store: Name = "",
    cursor: Cursor = "",
) -> Response:
    """All bays, how full each is now, and where it goes."""
    with gateway.records.read() as session:
        page = find_bays(session, now(), store or None, None, who.user.stores, cursor or None, PAGE)
    return render(request, "bays.html", page=page, cursor=cursor)


@router.get("/bay")
def bay_page(request: Request, gateway: GatewayOf, who: Reader, bay: Name, store: Name = "") -> Response:
    """One bay: its availability day by day, its alerts, its latest photos."""
    with gateway.records.read() as session:
        found = find_bays(session, now(), store, bay, who.user.stores).items
        if not found:
            raise NotFound("no photo shows this bay, or it is in a store that you may not see")
        told = AlertFilter(moment=now(), store=store, bay=bay, stores=who.user.stores)
        open_alerts = find_alerts(session, told)
        wanted = PhotoFilter(task=Task.SHELVES, store=store, bay=bay, stores=who.user.stores)
        photos = find_photos(session, wanted, limit=4)
    days = found[0].days
    return render(
        request,
        "bay.html",
        row=found[0],
        line=chart.draw([(day.day, day.osa) for day in days], words.GOAL) if days else None,
        goal=words.GOAL,
        page=open_alerts,
        photos=photos.items,
        size=(chart.WIDTH, chart.HEIGHT),
    )

"""Alerts: what is empty now, and what people do about it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from serving.gateway import alerts
from serving.gateway.access import User
from serving.gateway.alert_views import AlertList, AlertView
from serving.gateway.csv_export import csv_lines
from serving.gateway.dependencies import GatewayOf, Operator, Viewer
from serving.gateway.errors import NotFound
from serving.gateway.fields import Name, RecordTime
from serving.gateway.records import alerts as records
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.history import MAX_LIMIT
from serving.gateway.records.tables import AlertState, now
from serving.gateway.routes.results import Id
from serving.gateway.submission import read_json
from serving.gateway.views import Failure

router = APIRouter(tags=["alerts"])
COLUMNS = [name for name in AlertView.model_fields if name not in ("links", "void")]


class AlertSearch(BaseModel):
    """Which alerts. Without a `state`, which may be repeated, those that somebody has to do with."""

    model_config = ConfigDict(extra="forbid")

    store: Name | None = None
    bay: Name | None = None
    state: Annotated[list[AlertState], Field(max_length=len(AlertState))] = list(records.TOLD)

    def filter(self, user: User, moment: datetime) -> records.AlertFilter:
        """Within what a user may see."""
        return records.AlertFilter(moment, self.store, self.bay, self.state, user.stores)


class AlertPageSearch(AlertSearch):
    """The same, a page at a time."""

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = records.LIMIT


class AlertChange(BaseModel):
    """What to make of an alert; `until` goes with snoozing."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "acknowledged", "snoozed", "closed", "dismissed"]
    until: RecordTime | None = None


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a route that reads its body itself, within its limits."""
    schema = model.model_json_schema()
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    errors = {code: {"model": Failure} for code in (408, 409, 413, 415)}
    return {"openapi_extra": {"requestBody": body}, "responses": errors}


@router.get("/api/alerts")
async def list_alerts(
    gateway: GatewayOf, user: Viewer, search: Annotated[AlertPageSearch, Query()]
) -> AlertList:
    """Alerts, the most severe first."""

    def find() -> AlertList:
        moment = now()
        with gateway.records.read() as session:
            page = records.find_alerts(session, search.filter(user, moment), search.cursor, search.limit)
        return AlertList(items=[AlertView.of(row, moment) for row in page.items], next=page.next)

    return await to_thread.run_sync(find)


@router.get("/api/alerts.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def export_alerts(
    gateway: GatewayOf, user: Viewer, search: Annotated[AlertSearch, Query()]
) -> StreamingResponse:
    """The same as a table, all pages of it."""

    def rows() -> Iterator[dict[str, Any]]:
        cursor, moment = None, now()
        while True:
            with gateway.records.read() as session:
                page = records.find_alerts(session, search.filter(user, moment), cursor, MAX_LIMIT)
            yield from (AlertView.of(row, moment).model_dump(mode="json") for row in page.items)
            if (cursor := page.next) is None:
                return

    headers = {"Content-Disposition": 'attachment; filename="alerts.csv"'}
    return StreamingResponse(
        csv_lines(COLUMNS, rows()), media_type="text/csv; charset=utf-8", headers=headers
    )


@router.get("/api/alerts/{alert_id}")
async def get_alert(gateway: GatewayOf, user: Viewer, alert_id: Id) -> AlertView:
    """One alert, whatever its state."""

    def find() -> AlertView:
        with gateway.records.read() as session:
            row = records.find_alert(session, alert_id, user.stores)
        if row is None:
            raise NotFound("there is no such alert")
        return AlertView.of(row, now())

    return await to_thread.run_sync(find)


@router.patch("/api/alerts/{alert_id}", **json_body(AlertChange))
async def change_alert(request: Request, gateway: GatewayOf, user: Operator, alert_id: Id) -> AlertView:
    """Acknowledge an alert, let it sleep, close it, say that it is no void; or take that back.

    409: it is over, or is part of another one now.
    """
    wanted = await read_json(request, AlertChange)

    def change() -> AlertView:
        state = AlertState(wanted.state)
        with gateway.records.write() as session:
            row = alerts.change(session, alert_id, state, user.name, user.stores, wanted.until)
        return AlertView.of(row, now())

    return await to_thread.run_sync(change)

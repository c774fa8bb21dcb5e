"""What the API says of alerts, of what people say about photos, and of bays."""

from datetime import date, datetime
from typing import Any, Self
from urllib.parse import quote

from pydantic import BaseModel

from serving.gateway.fields import UtcTime
from serving.gateway.records.alerts import AlertRow, state_at
from serving.gateway.records.bays import BayRow
from serving.gateway.records.feedback import Verdict, box_of
from serving.gateway.records.tables import AlertState, Feedback
from serving.gateway.views import PHOTOS, PhotoSummary

ALERTS = "/api/alerts"


class AlertView(BaseModel):
    """One empty place on a shelf; docs/alerts.md has the rules.

    `x0` and `x1` are shares of the width of the last photo that shows it, `photo`, in whose report it is the
    void number `void`. `tier` and `position` count from 1, from below and from the left.
    """

    id: str
    store: str
    bay: str
    tier: int
    position: int
    facings: int
    x0: float
    x1: float
    kind: str
    confidence: float
    severity: float
    state: AlertState
    seen: int
    missed: int
    first_seen: UtcTime
    last_seen: UtcTime
    closed_at: UtcTime | None
    snoozed_until: UtcTime | None
    changed_by: str | None
    photo: str
    void: int | None
    links: dict[str, str]

    @classmethod
    def of(cls, row: AlertRow, moment: datetime) -> Self:
        """The view of a record, at a moment: those who sleep wake by the clock."""
        alert, photo = row.alert, f"{PHOTOS}/{row.alert.last_photo_id}"
        links = {"self": f"{ALERTS}/{alert.id}", "photo": photo}
        if row.void is not None:
            links["crop"] = f"{photo}/voids/{row.void}.jpg"
        here: dict[str, Any] = {"photo": alert.last_photo_id, "void": row.void}
        here["state"] = state_at(alert, moment)
        columns = {name: getattr(alert, name) for name in cls.model_fields if name not in (*here, "links")}
        return cls(**columns, **here, links=links)


class AlertList(BaseModel):
    """A page of alerts, the most severe first; `next` is the cursor of the page that follows."""

    items: list[AlertView]
    next: str | None


class FeedbackView(BaseModel):
    """What somebody said about a photo. `box` is that of a missed void, px of the photo."""

    id: str
    photo: str
    verdict: Verdict
    void: int | None
    box: list[float] | None
    count: int | None
    note: str
    by: str
    at: UtcTime

    @classmethod
    def of(cls, feedback: Feedback) -> Self:
        """The view of a record."""
        same = ("id", "verdict", "void", "count", "note", "by", "at")
        columns = {name: getattr(feedback, name) for name in same}
        return cls(photo=feedback.photo_id, box=box_of(feedback), **columns)


class FeedbackList(BaseModel):
    """All that was said about a photo, the oldest first."""

    items: list[FeedbackView]


class DayView(BaseModel):
    """`osa`: median of the photos of a day (UTC), 0..1."""

    day: date
    osa: float
    photos: int


class BayView(BaseModel):
    """On-shelf availability of a bay over the last 28 days, 0..1.

    `osa` is that of the newest usable photo, `trend` the change in a day, null below three days with photos;
    `alerts`: how many are open, acknowledged or snoozed.
    """

    store: str
    bay: str
    osa: float | None
    osa_at: UtcTime | None
    trend: float | None
    alerts: int
    days: list[DayView]
    links: dict[str, str]

    @classmethod
    def of(cls, row: BayRow) -> Self:
        """The view of what was found."""
        days = [DayView(day=one.day, osa=one.osa, photos=one.photos) for one in row.days]
        columns = {name: getattr(row, name) for name in ("store", "bay", "osa", "osa_at", "trend", "alerts")}
        query = f"?store={quote(row.store, safe='')}&bay={quote(row.bay, safe='')}"
        links = {"alerts": f"{ALERTS}{query}", "photos": f"{PHOTOS}{query}"}
        return cls(**columns, days=days, links=links)


class BayList(BaseModel):
    """A page of bays, by name; `next` is the cursor of the page that follows."""

    items: list[BayView]
    next: str | None


class MismatchList(BaseModel):
    """Photos of bins that do not fit their record, the surest first; `next` as in other lists."""

    items: list[PhotoSummary]
    next: str | None

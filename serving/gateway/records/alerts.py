"""Alerts in the records: those of one bay, to be followed, and those of all, to be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from serving.gateway.records.cursors import is_row_id, number, read_cursor, row_id, write_cursor
from serving.gateway.records.database import lock
from serving.gateway.records.tables import Alert, Photo, Sighting, State, Task
from stocktake.alerts.looks import Look
from stocktake.alerts.rules import LIVE, AlertRules, AlertState

LIMIT = 50  # rows of a page, unless told
TOLD = (AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SNOOZED)  # what somebody has to do with


def lock_bay(session: Session, store: str, bay: str) -> None:
    """Let nobody else change alerts of a bay until the transaction ends."""
    lock(session, store, bay)


def is_known(session: Session, photo: Photo) -> bool:
    """Whether a photo was followed already, or another one of the same bytes: it has nothing new to tell."""
    twin = select(Photo.id).where(
        Photo.store == photo.store,
        Photo.bay == photo.bay,
        Photo.task == Task.SHELVES,
        Photo.state == State.DONE,
        Photo.sha256 == photo.sha256,
        Photo.id != photo.id,
    )
    seen = select(Sighting.id).where(Sighting.photo_id == photo.id)
    return bool(session.scalar(select(or_(exists(twin), exists(seen)))))


def find_of_bay(session: Session, photo: Photo, rules: AlertRules) -> list[Alert]:
    """The alerts of a photo's bay that it may have to do with."""
    ended = (AlertState.CLOSED, AlertState.MERGED)
    silent_since = photo.taken_at - rules.silence
    query = select(Alert).where(
        Alert.store == photo.store,
        Alert.bay == photo.bay,
        or_(
            Alert.state.in_(LIVE),
            and_(Alert.state == AlertState.DISMISSED, Alert.closed_at > silent_since),
            and_(Alert.state.in_(ended), Alert.closed_at > photo.taken_at),
        ),
    )
    query = query.order_by(Alert.first_seen, Alert.id).execution_options(populate_existing=True)
    return list(session.scalars(query))


def find_looks(session: Session, photo: Photo, since: datetime, rules: AlertRules) -> list[Look]:
    """Other photos of a photo's bay that were taken after `since`: the newest, as many as rules ask for."""
    query = select(Photo.sha256, Photo.taken_at, Photo.width, Photo.report).where(
        Photo.store == photo.store,
        Photo.bay == photo.bay,
        Photo.task == Task.SHELVES,
        Photo.state == State.DONE,
        Photo.taken_at > since,
        Photo.id != photo.id,
    )
    rows = session.execute(
        query.order_by(Photo.taken_at.desc(), Photo.received_at.desc()).limit(rules.latest)
    )
    first = {row.sha256: row for row in rows}  # of photos of the same bytes the one that was taken first
    return [Look.of(row.report, row.width, row.taken_at) for row in first.values() if row.report]


def sighted_by(session: Session, photo_id: str, void: int) -> Alert | None:
    """The alert that a void of a photo belongs to."""
    query = select(Alert).join(Sighting).where(Sighting.photo_id == photo_id, Sighting.void == void)
    return session.scalar(query)


def forget_photos(session: Session, photo_ids: Sequence[str]) -> None:
    """Let alerts last seen on photos that are about to be deleted show the one before; else they go, too."""
    for alert in session.scalars(select(Alert).where(Alert.last_photo_id.in_(photo_ids))).all():
        other = (
            select(Photo.id)
            .join(Sighting, Sighting.photo_id == Photo.id)
            .where(Sighting.alert_id == alert.id, Photo.id.not_in(photo_ids))
        )
        newest = session.scalar(other.order_by(Photo.taken_at.desc()).limit(1))
        alert.last_photo_id = newest or alert.last_photo_id
    session.flush()


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; None = all. `moment`: now, for sleepers to wake; `stores`: that the caller may see."""

    moment: datetime
    store: str | None = None
    bay: str | None = None
    states: Sequence[AlertState] = TOLD
    stores: frozenset[str] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What SQL asks for."""
        awake = and_(Alert.state == AlertState.SNOOZED, Alert.snoozed_until <= self.moment)
        wanted: list[ColumnElement[bool]] = [Alert.state.in_(self.states)]
        if AlertState.OPEN in self.states:
            wanted = [or_(*wanted, awake)]
        elif AlertState.SNOOZED in self.states:
            wanted.append(~awake)
        if self.store is not None:
            wanted.append(Alert.store == self.store)
        if self.bay is not None:
            wanted.append(Alert.bay == self.bay)
        if self.stores is not None:
            wanted.append(Alert.store.in_(self.stores))
        return wanted


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert, and the place of its void in the report of its last photo."""

    alert: Alert
    void: int | None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Some alerts, and the cursor of those that follow."""

    items: list[AlertRow]
    next: str | None


def find_alerts(
    session: Session, wanted: AlertFilter, cursor: str | None = None, limit: int = LIMIT
) -> AlertPage:
    """Alerts, the most severe first.

    Raises:
        BadRequest: the cursor is none that was given out.
    """
    conditions = wanted.conditions()
    if cursor is not None:
        severity, last_id = read_cursor(cursor, number, row_id)
        same = and_(Alert.severity == severity, Alert.id > last_id)
        conditions.append(or_(Alert.severity < severity, same))
    query = select(Alert).where(*conditions).order_by(Alert.severity.desc(), Alert.id).limit(limit + 1)
    alerts = session.scalars(query).all()
    rows = _with_voids(session, alerts[:limit])
    more = len(alerts) > limit
    return AlertPage(rows, write_cursor(alerts[limit - 1].severity, alerts[limit - 1].id) if more else None)


def find_alert(session: Session, alert_id: str, stores: frozenset[str] | None = None) -> AlertRow | None:
    """An alert; None where there is none, or the caller may not see its store."""
    alert = session.get(Alert, alert_id) if is_row_id(alert_id) else None
    if alert is None or (stores is not None and alert.store not in stores):
        return None
    return _with_voids(session, [alert])[0]


def state_at(alert: Alert, moment: datetime) -> AlertState:
    """The state of an alert: a sleeper whose time is over is open, even if no photo came since."""
    over = alert.snoozed_until is not None and alert.snoozed_until <= moment
    return AlertState.OPEN if alert.state == AlertState.SNOOZED and over else AlertState(alert.state)


def _with_voids(session: Session, alerts: Sequence[Alert]) -> list[AlertRow]:
    query = (
        select(Alert.id, func.min(Sighting.void))
        .join(Sighting, and_(Sighting.alert_id == Alert.id, Sighting.photo_id == Alert.last_photo_id))
        .where(Alert.id.in_([alert.id for alert in alerts]))
        .group_by(Alert.id)
    )
    voids = {row[0]: row[1] for row in session.execute(query)}
    return [AlertRow(alert, voids.get(alert.id)) for alert in alerts]

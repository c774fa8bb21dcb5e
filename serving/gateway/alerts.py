"""What becomes of alerts when a photo is done, and when somebody says something about one."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from serving.gateway.errors import Clash, NotFound
from serving.gateway.records import alerts as records
from serving.gateway.records import feedback
from serving.gateway.records.alerts import AlertRow
from serving.gateway.records.feedback import Said
from serving.gateway.records.photos import lock_photo
from serving.gateway.records.tables import Alert, Photo, Sighting, Task, new_id, now
from stocktake.alerts.following import VoidAlert, follow
from stocktake.alerts.looks import Look
from stocktake.alerts.places import Place
from stocktake.alerts.rules import DEFAULTS, LIVE, AlertRules, AlertState
from stocktake.errors import BadRequest

LONGEST_SNOOZE = timedelta(days=90)
FROM: dict[AlertState, tuple[AlertState, ...]] = {  # what people may make of an alert, out of what
    AlertState.OPEN: (*LIVE, AlertState.DISMISSED),
    AlertState.ACKNOWLEDGED: LIVE,
    AlertState.SNOOZED: LIVE,
    AlertState.CLOSED: LIVE,
    AlertState.DISMISSED: LIVE,
}
FOLLOWED = ("position", "facings", "kind", "confidence", "state", "seen", "missed", "first_seen", "last_seen")
ENDS = ("closed_at", "snoozed_until")


def observe(session: Session, photo: Photo, rules: AlertRules = DEFAULTS) -> None:
    """Follow the voids of a photo of a bay that is done, in the transaction that makes it so; twice is once.

    Photos of one bay wait for each other here; their rows are locked before the bay is, never after.
    """
    if photo.task != Task.SHELVES or not photo.bay or not photo.report:
        return
    session.flush()
    records.lock_bay(session, photo.store, photo.bay)
    if records.is_known(session, photo):
        return
    known = records.find_of_bay(session, photo, rules)
    if not known and not photo.report["voids"]:
        return
    since = min([photo.taken_at, *(alert.last_seen for alert in known if alert.state in LIVE)])
    look = Look.of(photo.report, photo.width, photo.taken_at)
    others = records.find_looks(session, photo, since, rules)
    followed = follow([_read(alert) for alert in known], look, others, rules)
    for void_alert in followed.alerts[len(known) :]:
        known.append(Alert(id=new_id(), store=photo.store, bay=photo.bay, last_photo_id=photo.id))
        session.add(known[-1])
        _write(known[-1], void_alert)
    for alert, void_alert in zip(known, followed.alerts, strict=True):
        _write(alert, void_alert)
    for number in followed.sightings.values():
        if known[number].last_seen <= photo.taken_at:
            known[number].last_photo_id = photo.id
    session.flush()
    session.add_all(
        Sighting(alert_id=known[number].id, photo_id=photo.id, void=void)
        for void, number in followed.sightings.items()
    )


def change(
    session: Session,
    alert_id: str,
    state: AlertState,
    by: str,
    stores: frozenset[str] | None = None,
    until: datetime | None = None,
) -> AlertRow:
    """What somebody makes of an alert; `until`, UTC without a zone, goes with snoozing.

    That it is dismissed is a label, too, of the void where it was last seen, until that is taken back.

    Raises:
        NotFound: there is none, or the caller may not see it.
        Clash: it is over, or does not become that by somebody's word.
        BadRequest: `until` is missing, too much, past, or too far away.
    """
    if found := records.find_alert(session, alert_id, stores):
        lock_photo(session, found.alert.last_photo_id)  # it, and whichever is the last then, stays
        records.lock_bay(session, found.alert.store, found.alert.bay)
        session.expire_all()
        found = records.find_alert(session, alert_id, stores)  # a photo may have come, or gone, meanwhile
    if found is None:
        raise NotFound("there is no such alert")
    moment = now()
    _check_until(state, until, moment)
    if found.alert.state not in FROM.get(state, ()):
        raise Clash(f"state: this alert is {found.alert.state}; it cannot be made {state}")
    if found.void is not None and state == AlertState.DISMISSED:
        feedback.put(session, found.alert.last_photo_id, Said("not_a_void", found.void), by)
    elif found.alert.state == AlertState.DISMISSED:
        feedback.take_back(session, alert_id)
    _become(found.alert, state, by, moment)
    found.alert.snoozed_until = until
    return found


def judge(session: Session, photo: Photo, void: int, is_void: bool, by: str) -> None:
    """Let an alert know what somebody says about one of its sightings; the bay is locked by the caller."""
    alert = records.sighted_by(session, photo.id, void)
    if alert is None:
        return
    if not is_void and alert.state in LIVE:
        _become(alert, AlertState.DISMISSED, by, now())
    elif is_void and alert.state in (AlertState.PENDING, AlertState.DISMISSED):
        _become(alert, AlertState.OPEN, by, now())


def _become(alert: Alert, state: AlertState, by: str, moment: datetime) -> None:
    alert.state, alert.changed_by = state, by
    alert.closed_at = None if state in LIVE else moment
    alert.snoozed_until = None


def _check_until(state: AlertState, until: datetime | None, moment: datetime) -> None:
    if state != AlertState.SNOOZED:
        if until is not None:
            raise BadRequest(f"until: goes with snoozed, not with {state}")
    elif until is None or not moment < until <= moment + LONGEST_SNOOZE:
        raise BadRequest(f"until: give a time in the next {LONGEST_SNOOZE.days} days")


def _read(alert: Alert) -> VoidAlert:
    columns = {name: getattr(alert, name) for name in (*FOLLOWED, *ENDS, "id")}
    columns["state"] = AlertState(alert.state)
    return VoidAlert(Place(alert.tier, alert.x0, alert.x1), **columns)


def _write(alert: Alert, found: VoidAlert) -> None:
    alert.tier, alert.x0, alert.x1 = found.place.tier, found.place.x0, found.place.x1
    alert.severity = found.severity
    for name in (*FOLLOWED, *ENDS):
        setattr(alert, name, getattr(found, name))

"""The life of alerts: what one more photo of a bay changes about them. Nothing here asks for the time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stocktake.alerts.looks import Look, SeenVoid
from stocktake.alerts.places import Place, assign
from stocktake.alerts.rules import DEFAULTS, LIVE, AlertRules, AlertState

HALF = 0.5  # share of a part that the whole covers, where voids merge or split


@dataclass(frozen=True, slots=True)
class VoidAlert:
    """One empty place over the photos that show it.

    `place`, `position`, `facings`, `kind` and `confidence` as the last of them has it; `seen`: how many, at
    different times, from `first_seen` to `last_seen`; `missed`: later ones that show it refilled.
    `closed_at`: when it was refilled, dismissed or merged. `id` is None until somebody keeps it.
    """

    place: Place
    position: int
    facings: int
    kind: str
    confidence: float
    first_seen: datetime
    last_seen: datetime
    state: AlertState = AlertState.PENDING
    seen: int = 1
    missed: int = 0
    closed_at: datetime | None = None
    snoozed_until: datetime | None = None
    id: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether the place is empty still, as far as anybody knows."""
        return self.state in LIVE

    @property
    def severity(self) -> float:
        """Missing facings x hours between the first and the last photo that shows them missing."""
        return self.facings * (self.last_seen - self.first_seen) / timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Followed:
    """`alerts`: those that were given, in their order, as they are now, and then new ones; `sightings`: the
    alert, by its place among them, that each void of the photo belongs to, by its number in the report.
    """

    alerts: list[VoidAlert]
    sightings: dict[int, int]


def follow(
    alerts: Sequence[VoidAlert], look: Look, others: Sequence[Look], rules: AlertRules = DEFAULTS
) -> Followed:
    """What a photo of a bay changes about its alerts.

    Photos may come in any order. A late one, taken before another that came first, adds sightings and
    misses where they belong in time; it neither merges nor splits alerts, nor moves them.

    Args:
        alerts: of the bay, of any state; those that ended before the photo was taken play no part.
        look: the photo, which was not followed before.
        others: all photos of the bay, followed before, that are newer than it or than the last sighting of
            an alert that lives; older ones do no harm.
        rules: the constants.
    """
    newer = sum(other.taken_at > look.taken_at for other in others)
    if not look.is_usable or newer >= rules.latest:
        return Followed(list(alerts), {})
    step = _Step(alerts, look, [look, *others], rules)
    step.pair()
    if not step.is_late:
        step.merge()
    step.now = [_judge(alert, look, step.looks, rules) for alert in step.now]
    step.begin()
    return Followed(step.now, step.sightings)


class _Step:
    """One photo followed: `now` and `sightings` become those of `Followed`."""

    def __init__(self, alerts: Sequence[VoidAlert], look: Look, looks: Sequence[Look], rules: AlertRules):
        self.before, self.look, self.looks, self.rules = alerts, look, looks, rules
        self.is_late = any(other.taken_at > look.taken_at for other in looks)
        self.voids = [void for void in look.voids if void.is_alarm]
        self.pairs: dict[int, SeenVoid] = {}  # by place among the alerts
        self.now = list(alerts)
        self.sightings: dict[int, int] = {}

    def pair(self) -> None:
        """Each void to its alert; those of places that somebody has dismissed come last."""
        for dismissed in (False, True):
            known = [
                number
                for number, alert in enumerate(self.before)
                if (alert.state == AlertState.DISMISSED) == dismissed and self._was_there(alert)
            ]
            free = [void for void in self.voids if void.number not in self.sightings]
            places = [self.before[number].place for number in known], [void.place for void in free]
            for k, v in assign(*places, self.rules.slack, self.rules.least_overlap).items():
                number, void = known[k], free[v]
                if not (dismissed and self._has_grown(self.before[number], void)):
                    self.pairs[number] = void
                    self.now[number] = _sighted(self.before[number], void, self.look.taken_at)
                    self.sightings[void.number] = number

    def merge(self) -> None:
        """What lay between two voids is sold, too: the older alert goes on as the wide one."""
        for known, void in self.pairs.items():
            parts = [
                number
                for number, alert in enumerate(self.before)
                if number not in self.pairs and alert.is_live and alert.place.covered_by(void.place) >= HALF
            ]
            if self.before[known].is_live and parts:
                self._merge([known, *parts], void)

    def begin(self) -> None:
        """An alert for each void that no alert is about: part of one that has split, or new."""
        for void in self.voids:
            if void.number in self.sightings:
                continue
            whole = next((n for n in self.pairs if void.place.covered_by(self.before[n].place) >= HALF), None)
            if whole is not None and self.is_late:
                self.sightings[void.number] = whole
                continue
            alert = _judge(self._first(void, whole), self.look, self.looks, self.rules)
            if alert.state != AlertState.CLOSED:  # else it came and went before this late photo told of it
                self.sightings[void.number] = len(self.now)
                self.now.append(alert)

    def _first(self, void: SeenVoid, whole: int | None) -> VoidAlert:
        taken_at = self.look.taken_at
        if whole is not None and self.before[whole].state not in (AlertState.CLOSED, AlertState.MERGED):
            return replace(_moved(_sighted(self.before[whole], void, taken_at), void), id=None)
        facts = void.place, void.position, void.facings, void.kind, void.confidence
        return VoidAlert(*facts, first_seen=taken_at, last_seen=taken_at)

    def _merge(self, group: list[int], void: SeenVoid) -> None:
        parts = [self.before[number] for number in group]
        _, _, oldest = min(
            (alert.state == AlertState.PENDING, alert.first_seen, number)
            for number, alert in zip(group, parts, strict=True)
        )
        taken_at = self.look.taken_at
        for number, alert in zip(group, parts, strict=True):
            self.now[number] = replace(alert, state=AlertState.MERGED, closed_at=taken_at)
        wide = _sighted(self.before[oldest], void, taken_at)
        self.now[oldest] = replace(
            wide,
            state=AlertState.OPEN if any(part.state == AlertState.OPEN for part in parts) else wide.state,
            first_seen=min(part.first_seen for part in parts),
            seen=max(wide.seen, *(part.seen + 1 for part in parts)),
        )
        self.sightings[void.number] = oldest

    def _was_there(self, alert: VoidAlert) -> bool:
        """Whether the alert is of the time when the photo was taken."""
        taken_at = self.look.taken_at
        if alert.state == AlertState.DISMISSED:
            return alert.closed_at is None or taken_at < alert.closed_at + self.rules.silence
        if alert.closed_at is not None and alert.closed_at <= taken_at:
            return False
        between = {
            other.taken_at
            for other in self.looks
            if taken_at < other.taken_at < alert.first_seen and other.shows_refilled(alert.place, self.rules)
        }
        return len(between) < self.rules.close_after

    def _has_grown(self, alert: VoidAlert, void: SeenVoid) -> bool:
        wider = void.place.width >= self.rules.growth * alert.place.width
        return wider and void.facings > alert.facings


def _sighted(alert: VoidAlert, void: SeenVoid, taken_at: datetime) -> VoidAlert:
    """Seen once more; moved only where that is the newest sight of something that lives."""
    moves = alert.is_live and taken_at >= alert.last_seen
    news = taken_at not in (alert.first_seen, alert.last_seen)  # two photos of one moment are one sighting
    alert = replace(
        alert,
        seen=alert.seen + news,
        first_seen=min(alert.first_seen, taken_at),
        last_seen=max(alert.last_seen, taken_at),
    )
    return _moved(alert, void) if moves else alert


def _moved(alert: VoidAlert, void: SeenVoid) -> VoidAlert:
    return replace(
        alert,
        place=void.place,
        position=void.position,
        facings=void.facings,
        kind=void.kind,
        confidence=void.confidence,
    )


def _judge(alert: VoidAlert, look: Look, looks: Sequence[Look], rules: AlertRules) -> VoidAlert:
    """Close what was refilled, open what was seen often enough, wake what has slept."""
    if not alert.is_live:
        return alert
    refilled = sorted(
        {
            other.taken_at
            for other in looks
            if other.taken_at > alert.last_seen and other.shows_refilled(alert.place, rules)
        }
    )
    alert = replace(alert, missed=len(refilled))
    if len(refilled) >= rules.close_after:
        return replace(alert, state=AlertState.CLOSED, closed_at=refilled[0])
    if alert.state == AlertState.PENDING and alert.seen >= rules.open_after:
        return replace(alert, state=AlertState.OPEN)
    is_over = alert.snoozed_until is not None and alert.snoozed_until <= look.taken_at
    if alert.state == AlertState.SNOOZED and is_over:
        return replace(alert, state=AlertState.OPEN, snoozed_until=None)
    return alert

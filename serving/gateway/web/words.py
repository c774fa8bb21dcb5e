"""What pages say in words: of voids, photos, alerts and jobs, for people who fill shelves."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.gateway.records.alerts import state_at
from serving.gateway.records.bays import BayRow
from serving.gateway.records.history import JobSummary
from serving.gateway.records.tables import Alert, Photo, State, Task
from stocktake.alerts.rules import AlertState
from stocktake.void_kinds import EDGE, EMPTY_TIER, GAP, LOW_STOCK

KINDS = {
    GAP: "between two products",
    EDGE: "at the end of the tier",
    EMPTY_TIER: "the tier looks empty",
    LOW_STOCK: "front row empty, stock behind it",
}
STATES = {
    State.QUEUED: "Waiting",
    State.RUNNING: "Being looked at",
    State.DONE: "Done",
    State.FAILED: "Cannot be read",
    State.DEAD: "Given up",
}
VERDICTS = {
    "accept": "The record is right",
    "reject": "The record is wrong",
    "ask": "Count by hand",
}
SURE, LIKELY = 0.9, 0.75  # confidence
GOAL, POOR = 0.95, 0.9  # on-shelf availability: of good stores, and where it begins to cost
STEADY = 0.0005  # change of it in a day


@dataclass(frozen=True, slots=True)
class Said:
    """Words, and their tone: good, warn, alarm or none."""

    words: str
    tone: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A void on the refill list. `number` as written on the photo, `void` its place in the report."""

    number: int
    void: int
    tier: int
    position: int
    facings: int
    confidence: float
    kind: str
    box: list[float]  # xyxy px

    @property
    def is_low(self) -> bool:
        """Stock is there, only not in front."""
        return self.kind == LOW_STOCK

    @property
    def kind_words(self) -> str:
        """What it looks like."""
        return KINDS.get(self.kind, self.kind).capitalize()

    @property
    def words(self) -> str:
        """Where, and what is to do."""
        where = place(self.tier, self.position)
        return f"{where}: pull stock forward" if self.is_low else f"{where}: {missing(self.facings)}"


def refill_list(report: dict[str, Any]) -> list[Entry]:
    """The voids of a report as one walks the shelf: from the top tier down, from left to right."""
    voids = sorted(enumerate(report["voids"]), key=lambda item: (-item[1]["tier"], item[1]["position"]))
    return [Entry(number, place, **void) for number, (place, void) in enumerate(voids, 1)]


def of_photo(photo: Photo) -> Said:
    """What came of a photo, in one line."""
    if photo.state == State.FAILED:
        return Said("This file cannot be read", "alarm", photo.error or "")
    if photo.state == State.DEAD:
        return Said(f"No answer after {count(photo.attempts, 'attempt')}", "alarm", photo.error or "")
    if photo.state == State.QUEUED:
        return Said(STATES[photo.state], more=photo.error or "")  # why it waits, where it was tried
    if photo.state != State.DONE or photo.report is None:
        return Said(STATES[photo.state])
    return _of_shelf(photo) if photo.task == Task.SHELVES else _of_bin(photo)


def _of_shelf(photo: Photo) -> Said:
    voids = photo.report["voids"] if photo.report else []
    gone = [void["facings"] for void in voids if void["kind"] != LOW_STOCK]
    low = len(voids) - len(gone)
    more = f"{count(low, 'place')} to pull forward" if low else ""
    if not gone:
        return Said("Nothing is missing", "warn" if low else "good", more)
    return Said(f"{missing(sum(gone))} in {count(len(gone), 'place')}", "alarm", more)


def _of_bin(photo: Photo) -> Said:
    seen = count(photo.count or 0, "item")
    if photo.expected_quantity is None:
        return Said(f"{seen} counted")
    more = f"The record says {photo.expected_quantity}, the photo shows {photo.count}"
    if photo.verdict == "ask" and photo.count == photo.expected_quantity:
        more += ", but not clearly"
    tone = {"accept": "good", "reject": "alarm"}.get(photo.verdict or "", "warn")
    return Said(VERDICTS.get(photo.verdict or "", "Count by hand"), tone, more)


def of_job(summary: JobSummary) -> Said:
    """How far a job is, in one line."""
    if summary.over < summary.total:
        return Said(f"{summary.over} of {summary.total} answered" if summary.over else STATES[State.QUEUED])
    failed, dead = summary.counts.get(State.FAILED, 0), summary.counts.get(State.DEAD, 0)
    if dead:
        return Said(f"{count(dead, 'photo')} given up", "alarm")
    if failed:
        return Said(f"{count(failed, 'file')} not readable", "warn")
    return Said("All answered", "good")


def of_alert(alert: Alert, moment: datetime) -> Said:
    """What became of an alert."""
    state = state_at(alert, moment)
    empty_for = duration(alert.first_seen, alert.closed_at or moment)
    if state == AlertState.CLOSED:
        return Said("Refilled", "good", f"It was empty for {empty_for}")
    if state == AlertState.DISMISSED:
        return Said("Not a void", "", f"Said by {alert.changed_by}")
    more = f"Empty for {empty_for}, seen on {count(alert.seen, 'photo')}"
    if state == AlertState.ACKNOWLEDGED:
        return Said("Being refilled", "warn", f"{more}; taken on by {alert.changed_by}")
    if state == AlertState.SNOOZED:
        return Said("Put off", "", more)
    return Said("To refill", "alarm", more)


def of_bay(row: BayRow) -> Said:
    """How full a bay is now."""
    if row.osa is None:
        return Said("No photo in the last four weeks", "warn")
    tone = "good" if row.osa >= GOAL else "warn" if row.osa >= POOR else "alarm"
    return Said(f"{percent(row.osa)} available", tone)


def of_trend(trend: float | None) -> str:
    """Where the availability of a bay goes; `trend` is its change in a day."""
    if trend is None:
        return "Too few days to tell where it goes"
    if abs(trend) < STEADY:
        return "Steady over the last four weeks"
    points = f"{abs(100 * trend):.1f} percentage points a day"
    return f"{'Rising' if trend > 0 else 'Falling'} by {points}"


def title(photo: Photo) -> str:
    """Where a photo was taken, or its name where nobody said."""
    where = bay_name(photo.store, photo.bay, "bay" if photo.task == Task.SHELVES else "bin")
    return where or photo.name or "A photo without a name"


def bay_name(store: str, bay: str, kind: str = "bay") -> str:
    """Of a shop and a bay, or a bin; either may be empty."""
    return ", ".join(part for part in (store, bay and f"{kind} {bay}") if part)


def place(tier: int, position: int) -> str:
    """Of a void, as one counts on the shelf."""
    return f"Tier {tier}, place {position}"


def missing(facings: int) -> str:
    """How many facings are."""
    return f"{count(facings, 'facing')} missing"


def sureness(confidence: float) -> str:
    """Of a confidence 0..1."""
    word = "very likely" if confidence >= SURE else "likely" if confidence >= LIKELY else "perhaps"
    return f"{word} ({percent(confidence)})"


def percent(share: float | None) -> str:
    """Of a share 0..1, to one digit where it is close to whole."""
    if share is None:
        return "not known"
    value = 100 * share
    return f"{value:.1f} %" if 90 <= value < 99.95 else f"{value:.0f} %"


def count(number: int, thing: str, things: str = "") -> str:
    """'1 photo', '2 photos'."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def duration(begin: datetime, end: datetime) -> str:
    """How long, in the largest unit that is over."""
    seconds = max(0.0, (end - begin).total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(int(seconds // length), unit)
    return "less than a minute"


def outline(products: Iterable[Iterable[float]]) -> str:
    """All product boxes as one SVG path, in px of the photo."""
    boxes = (tuple(product)[:4] for product in products)
    return "".join(f"M{x0:.0f} {y0:.0f}H{x1:.0f}V{y1:.0f}H{x0:.0f}z" for x0, y0, x1, y1 in boxes)

"""The constants of alerts, and the states that one may be in."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from stocktake.errors import SettingsError


class AlertState(StrEnum):
    """What became of an alert."""

    PENDING = "pending"  # seen, but not often enough to tell anybody
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    CLOSED = "closed"  # refilled
    DISMISSED = "dismissed"  # somebody said that it is no void
    MERGED = "merged"  # part of a wider one now, which goes on as another alert


LIVE = (AlertState.PENDING, AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SNOOZED)


@dataclass(frozen=True, slots=True)
class AlertRules:
    """When alerts open, close and stay silent. Shares are of the photo's width."""

    open_after: int = 2  # sightings, each at a time of its own
    close_after: int = 2  # photos that show the place refilled
    slack: float = 0.02  # share that a camera may shift to either side, or what it shows may stretch
    least_overlap: float = 0.5  # of the narrower of two places, slack included, that makes them one
    silence: timedelta = timedelta(days=30)  # of a place that somebody said is no void
    growth: float = 1.5  # as wide as then, and wider by a facing: it is told of all the same
    latest: int = 100  # newer photos of the bay, from which on a late one changes nothing

    def __post_init__(self) -> None:
        for name in ("open_after", "close_after", "latest"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; alerts need at least 1")


DEFAULTS = AlertRules()

"""On-shelf availability over time, in a way that a few wrong photos do not change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations
from statistics import median

LEAST_DAYS = 3  # with photos, below which there is no trend


@dataclass(frozen=True, slots=True)
class DayOfBay:
    """`osa`: the median, 0..1, of the `photos` photos of a day (UTC)."""

    day: date
    osa: float
    photos: int


def by_day(found: Iterable[tuple[datetime, float]]) -> list[DayOfBay]:
    """Days with photos, in order, of (taken at, on-shelf availability 0..1)."""
    days: dict[date, list[float]] = {}
    for taken_at, osa in found:
        days.setdefault(taken_at.date(), []).append(osa)
    return [DayOfBay(day, median(values), len(values)) for day, values in sorted(days.items())]


def trend(days: Sequence[DayOfBay]) -> float | None:
    """Change of on-shelf availability in a day; None below `LEAST_DAYS` days.

    The median of the slopes between all pairs of days (Theil and Sen): nearly three days in ten may be wrong.
    """
    if len(days) < LEAST_DAYS:
        return None
    return median(
        (late.osa - early.osa) / (late.day - early.day).days for early, late in combinations(days, 2)
    )

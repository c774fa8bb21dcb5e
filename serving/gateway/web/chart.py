"""A line of shares over time as an SVG's coordinates; templates draw it, and a table says the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 24
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)  # between grid lines
MOST_LINES = 5
MOST_DOTS = 60


@dataclass(frozen=True, slots=True)
class Chart:
    """Coordinates in a box of WIDTH x HEIGHT; `levels` are (y, share), `days` are (x, day)."""

    line: str
    dots: list[tuple[float, float]]
    levels: list[tuple[float, float]]
    days: list[tuple[float, date]]
    goal: float | None  # y of it, where it is within the chart


def draw(points: Sequence[tuple[date, float]], goal: float) -> Chart:
    """Of at least one point (day, share 0..1), in the order of time."""
    shares = [share for _, share in points]
    depth = 1 - min(*shares, goal)
    step = next((step for step in STEPS if depth / step <= MOST_LINES - 1), STEPS[-1])
    lines = math.ceil(round(depth / step, 6))  # below the uppermost
    lowest = max(0.0, 1 - step * lines)
    first, last = points[0][0], points[-1][0]
    span = (last - first).days or 1

    def x(at: date) -> float:
        middle = 0.5 if first == last else (at - first).days / span
        return round(LEFT + (WIDTH - LEFT - RIGHT) * middle, 1)

    def y(share: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share) / (1 - lowest), 1)

    places = [(x(at), y(share)) for at, share in points]
    return Chart(
        line="M" + "L".join(f"{left} {top}" for left, top in places),
        dots=places if len(places) <= MOST_DOTS else [],
        levels=[(y(1 - step * number), 1 - step * number) for number in range(lines + 1)],
        days=[(x(at), at) for at in ([first, last] if first != last else [first])],
        goal=y(goal) if lowest <= goal else None,
    )

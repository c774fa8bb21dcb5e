"""The line that a training prints after each epoch, and how a program finds figures in it.

    2026-05-01T12:00:00.000000Z epoch=3 val/accuracy=0.41 val/loss=1.32

Katib reads it from a trial's output: the time must come first, in RFC 3339, and a name must touch its value.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

# Name and value, in the syntax that Python and Go share.
FIGURE = r"([\w/]+)=([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)"


def epoch_line(metrics: Mapping[str, float], epoch: int, now: datetime | None = None) -> str:
    """The line for an epoch, numbered from 1; six digits of each figure."""
    time = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return " ".join([time, f"epoch={epoch}", *(f"{name}={value:.6g}" for name, value in metrics.items())])

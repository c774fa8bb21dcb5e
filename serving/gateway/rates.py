"""How often one may ask: so many requests a minute for each token, or that many at once after a pause."""

import math
import time
from collections.abc import Callable

from serving.gateway.errors import Overloaded

MINUTE_S = 60.0


class Rates:
    """A bucket for each name, refilled evenly. Names are those of tokens, so there are few."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self._per_minute, self._clock = per_minute, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def take(self, name: str) -> None:
        """Count a request.

        Raises:
            Overloaded: too many in the last minute; says when to come back.
        """
        now = self._clock()
        left, since = self._buckets.get(name, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - since) * self._per_minute / MINUTE_S)
        if left < 1:
            self._buckets[name] = (left, now)
            wait = math.ceil((1 - left) * MINUTE_S / self._per_minute)
            raise Overloaded(f"more than {self._per_minute} requests in a minute; wait {wait} s", wait)
        self._buckets[name] = (left - 1, now)

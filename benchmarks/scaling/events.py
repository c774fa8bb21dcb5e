"""What happens when: a heap of calls to come."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any


class Events:
    """A clock that jumps from one event to the next. Those of one moment come in the order of their making.

    Attributes:
        now: s.
        horizon: s, when what repeats itself stops.
    """

    def __init__(self, horizon: float):
        self.now = 0.0
        self.horizon = horizon
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._number = count().__next__

    def after(self, seconds: float, call: Callable[[Any], None], what: Any = None) -> None:
        """Call back with `what`, `seconds` from now."""
        heapq.heappush(self._heap, (self.now + seconds, self._number(), call, what))

    def every(self, seconds: float, call: Callable[[], None], first: float = 0.0) -> None:
        """Call from `first` on every `seconds`, until the horizon."""

        def again(_: Any) -> None:
            call()
            if self.now + seconds <= self.horizon:
                self.after(seconds, again)

        self.after(first - self.now, again)

    def run(self, arrivals: Iterable[float], arrive: Callable[[float], None]) -> None:
        """Let everything happen, `arrivals` (s, ascending) among it, until nothing is left."""
        heap, pop = self._heap, heapq.heappop
        for arrival in arrivals:
            while heap and heap[0][0] <= arrival:
                self.now, _, call, what = pop(heap)
                call(what)
            self.now = arrival
            arrive(arrival)
        while heap:
            self.now, _, call, what = pop(heap)
            call(what)

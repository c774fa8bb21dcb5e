"""Where the time of a step goes, by marks that the trainer sets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

PHASES = ("data wait", "forward", "backward", "optimizer", "monitor", "other")


class Stopwatch:
    """Adds up the seconds of each phase over the steps of an epoch, and times each step as a whole.

    A step goes from the end of one backward pass to the end of the next. A GPU works behind the back of the
    CPU, so that in a step that is measured `wait` is called at each mark; in other steps, the time of the
    whole step is all that is taken. On a CPU every step is measured.

    Args:
        wait: waits for the device; None on CPU.
        every: measure the phases of each n-th step on a device that has to be waited for.
    """

    def __init__(self, wait: Callable[[], None] | None, every: int):
        self._wait = wait
        self._every = every
        self._cycle: dict[str, float] = {}
        self._steps = 0
        self._odd = True  # the step that is under way is not like the others
        self.phases: dict[str, float] = {}
        self.measured = 0
        self._began = self._last = time.perf_counter()

    @property
    def _measures(self) -> bool:
        # half-way between two looks at the gradients, which begin at step 0
        return self._wait is None or self._steps % self._every == self._every // 2

    def mark(self, phase: str) -> None:
        """The time since the last mark went to `phase`."""
        if not self._measures:
            return
        if self._wait is not None:
            self._wait()
        now = time.perf_counter()
        self._cycle[phase] = self._cycle.get(phase, 0.0) + now - self._last
        self._last = now

    def step(self) -> float:
        """A backward pass has ended; return the seconds of the step, NaN if it is not like the others."""
        self.mark("backward" if "forward" in self._cycle else "other")
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        if self._measures and not self._odd:
            self.measured += 1
            for phase, spent in self._cycle.items():
                self.phases[phase] = self.phases.get(phase, 0.0) + spent
        odd, self._odd = self._odd, False
        self._cycle = {}
        self._steps += 1
        self._last = now
        return math.nan if odd else seconds

    def leave_out(self) -> None:
        """Do not count the step that is under way: its epoch is new, or something else looks at it too."""
        self._odd = True

    def take(self) -> tuple[int, dict[str, float]]:
        """The steps measured in this epoch and their seconds by phase, in the order of a step; start anew."""
        known = {phase: self.phases[phase] for phase in PHASES if phase in self.phases}
        taken = self.measured, known | self.phases
        self.measured, self.phases, self._cycle = 0, {}, {}
        self.leave_out()
        self._began = self._last = time.perf_counter()
        return taken

"""What all rules share: parameters as a frozen dataclass, one `check`, and how series are read."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stocktake.monitoring.recording import Recording
from stocktake.monitoring.results import RuleResult, State


@dataclass(frozen=True)
class Rule:
    """A rule is its parameters; `check` is a pure function of a recording."""

    @property
    def name(self) -> str:
        """As SageMaker Debugger calls it."""
        return type(self).__name__

    def check(self, seen: Recording) -> RuleResult:
        """Judge all that was recorded so far."""
        raise NotImplementedError

    def answer(self, state: State, reason: str, **more: Any) -> RuleResult:
        """An answer of this rule, with its parameters."""
        return RuleResult(self.name, state, reason, parameters=asdict(self), **more)

    def insufficient(self, found: int, needed: int, what: str) -> RuleResult:
        """The answer to too few points."""
        reason = f"{found} {what} so far, {needed} are needed"
        return self.answer(State.INSUFFICIENT, reason, datapoints=found)

    def not_evaluated(self, reason: str) -> RuleResult:
        """The answer where there is nothing to look at."""
        return self.answer(State.NOT_EVALUATED, reason)


def run_lengths(held: np.ndarray) -> np.ndarray:
    """How many times in a row each column of (n,) or (n, columns) bool has held, up to each row."""
    lengths = np.zeros(held.shape, int)
    so_far = np.zeros(held.shape[1:], int)
    for row, holds in enumerate(held):
        so_far = np.where(holds, so_far + 1, 0)
        lengths[row] = so_far
    return lengths

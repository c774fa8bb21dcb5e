"""Whether a process grows: a line through samples of its memory, and how sure the line is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCKS = 20
SURE = 2.0  # standard errors
TOLERATED = 0.01  # of the memory, over all samples: what allocators do


@dataclass(frozen=True)
class Slope:
    """Growth in bytes per second, with its standard error; over how many seconds, from how many bytes."""

    value: float
    error: float
    seconds: float
    bytes: float

    @property
    def grows(self) -> bool:
        """Whether it is more than chance, and more than a hundredth of what there is."""
        return self.value > SURE * self.error and self.value * self.seconds > TOLERATED * self.bytes

    def __str__(self) -> str:
        per_hour = 3600 / 1e6
        return f"{self.value * per_hour:+.1f} ± {self.error * per_hour:.1f} MB an hour"


def slope(seconds: NDArray[np.float64], memory: NDArray[np.float64]) -> Slope:
    """The slope of samples (n,) of `memory` in bytes at `seconds`, n >= 60.

    Neighbouring samples are almost equal, so that they prove less than so many independent ones would: the
    line goes through the means of 20 blocks, and its error comes from how far these lie beside it.
    """
    x, y = (np.array([part.mean() for part in np.array_split(v, BLOCKS)]) for v in (seconds, memory))
    x = x - x.mean()
    value = float(x @ y / (x @ x))
    beside = y - y.mean() - value * x
    error = float(np.sqrt(beside @ beside / (BLOCKS - 2) / (x @ x)))
    return Slope(value, error, float(seconds[-1] - seconds[0]), float(memory.mean()))

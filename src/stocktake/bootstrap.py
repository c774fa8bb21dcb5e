"""How far a mean over photos could be off by chance, where photos come in groups that are alike."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 1000
LEVEL = 0.95
_AT_ONCE = 4_000_000  # numbers of one block of rounds


class Estimate(NamedTuple):
    """A figure and the interval that it lies in with a confidence of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def resampled_means(
    values: NDArray[np.floating], group_of: NDArray[np.integer], rounds: int = ROUNDS, seed: int = 0
) -> NDArray[np.floating]:
    """Means over photos of groups drawn with replacement: a cluster bootstrap.

    A. Davison, D. Hinkley: Bootstrap Methods and their Application, 1997, section 3.8. The same groups are
    drawn for the same `seed` and number of groups, so that two calls can be compared round by round.

    Args:
        values: (n, m).
        group_of: (n,) 0..G-1, every group at least once.
        rounds: how often.
        seed: of the draws.

    Returns:
        (rounds, m) float64.
    """
    groups = int(group_of.max()) + 1
    columns = [*values.T, np.ones(len(values))]
    sums = np.stack([np.bincount(group_of, weights=column, minlength=groups) for column in columns], axis=1)
    rng, share = np.random.default_rng(seed), np.full(groups, 1 / groups)
    block = max(1, _AT_ONCE // groups)
    totals = np.concatenate(
        [
            rng.multinomial(groups, share, size=min(block, rounds - start)) @ sums
            for start in range(0, rounds, block)
        ]
    )
    means: NDArray[np.floating] = totals[:, :-1] / totals[:, -1:]
    return means


def estimate(value: float, resampled: NDArray[np.floating]) -> Estimate:
    """A figure with the percentile interval of its `resampled` (rounds,) values."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Estimate(float(value), float(low), float(high))

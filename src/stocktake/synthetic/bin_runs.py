"""Plans which photos show the same bin: ids, and how many items each photo has.

ABID's ids are strings: 1 to 9999 are padded to five digits, but some of 1000 to 9999 exist unpadded, too, and
are other photos. Photos with neighbouring ids often show a bin before and after a pick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stocktake.synthetic.bin_settings import BinDrawSettings

_FIRST_ID = 1000  # the lowest number that exists padded and unpadded
_UNPADDED = 5  # every fifth run has ids without padding
_LEAPS = 0.08  # share of changes that are not one pick or one stow


@dataclass(frozen=True, slots=True)
class BinRun:
    """Photos of one bin, one after the other."""

    number: int
    ids: tuple[str, ...]
    counts: tuple[int, ...]


def plan_runs(settings: BinDrawSettings, photos: int, seed: int) -> list[BinRun]:
    """Split `photos` photos into runs; a longer plan of the same seed begins with this one."""
    runs: list[BinRun] = []
    padded, unpadded = _FIRST_ID, _FIRST_ID
    left = photos
    while left > 0:
        number = len(runs)
        counts = _plan_counts(np.random.default_rng([seed, number, 0]), settings)[:left]
        if number % _UNPADDED == _UNPADDED - 1 and unpadded + len(counts) <= 10 * _FIRST_ID:
            ids = tuple(str(unpadded + i) for i in range(len(counts)))
            unpadded += len(counts)
        else:
            ids = tuple(f"{padded + i:05d}" for i in range(len(counts)))
            padded += len(counts)
        runs.append(BinRun(number, ids, tuple(counts)))
        left -= len(counts)
    return runs


def _plan_counts(rng: np.random.Generator, settings: BinDrawSettings) -> list[int]:
    chances = np.array(settings.counts) / sum(settings.counts)
    counts = [int(rng.choice(len(chances), p=chances))]
    while rng.random() < settings.again:
        if rng.random() < _LEAPS:
            counts.append(int(rng.choice(len(chances), p=chances)))
        else:
            counts.append(_step(rng, chances, counts[-1]))
    return counts


def _step(rng: np.random.Generator, chances: Sequence[float] | np.ndarray, count: int) -> int:
    """One more or one less, the likelier count preferred; the same where neither is possible."""
    near = [n for n in (count - 1, count + 1) if 0 <= n < len(chances) and chances[n] > 0]
    if not near:
        return count
    weights = np.array([chances[n] for n in near])
    return int(rng.choice(near, p=weights / weights.sum()))

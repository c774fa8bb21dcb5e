"""How far values have moved from those of a reference: the population stability index.

PSI sums (share now - share then) x ln(share now / share then) over bins, as in N. Siddiqi, Credit Risk
Scorecards (2006): below .1 nothing has moved, over .25 much has. Values of the same distribution have a PSI
too, from chance, which with a hundred photos is not small: 1 / then + 1 / now times a chi-square of bins - 1
degrees of freedom (B. Yurdakul, Statistical Properties of Population Stability Index, 2018). So drift also
has to exceed what chance gives once in a hundred times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

BINS = 10
LEAST = 1e-4  # share of an empty bin, whose logarithm would be endless
NOTICEABLE, LARGE = 0.1, 0.25


class Histogram(BaseModel):
    """Where values of a reference lie, in bins that hold about as many each.

    Bin i holds values over `edges[i - 1]`, up to and including `edges[i]`; the first and last are open.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    edges: list[float]
    counts: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} bins, not {len(self.counts)}"
            )
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        if min(self.counts) < 0 or not sum(self.counts):
            raise ValueError("counts must be 0 or more, and not all 0")
        return self

    @classmethod
    def of(cls, values: Sequence[float], bins: int = BINS) -> Self:
        """The histogram of one or more finite values; fewer than `bins` where many are equal."""
        found = np.asarray(values, np.float64)
        inner = np.quantile(found, np.arange(1, bins) / bins, method="inverted_cdf")
        edges = [float(edge) for edge in np.unique(inner) if edge < found.max()]
        return cls(edges=edges, counts=_count(found, edges))

    def compare(self, values: Sequence[float]) -> "Drift":
        """How far one or more finite values have moved from these."""
        then = np.asarray(self.counts, np.float64)
        now = np.asarray(_count(np.asarray(values, np.float64), self.edges), np.float64)
        shares_then, shares_now = (np.maximum(each / each.sum(), LEAST) for each in (then, now))
        psi = float(np.sum((shares_now - shares_then) * np.log(shares_now / shares_then)))
        chance = float(1 / then.sum() + 1 / now.sum()) * _chi_square_99(len(then) - 1)
        return Drift(psi, chance, int(now.sum()))


@dataclass(frozen=True, slots=True)
class Drift:
    """A population stability index, what chance alone exceeds once in 100 times, and of how many values."""

    psi: float
    chance: float
    values: int

    @property
    def is_noticeable(self) -> bool:
        """Something has moved; look at it."""
        return self.psi > max(NOTICEABLE, self.chance)

    @property
    def is_large(self) -> bool:
        """What a model was chosen for is no longer what it gets."""
        return self.psi > max(LARGE, self.chance)


def _count(values: np.ndarray, edges: Sequence[float]) -> list[int]:
    bins = np.searchsorted(np.asarray(edges, np.float64), values, side="left")
    return [int(count) for count in np.bincount(bins, minlength=len(edges) + 1)]


def _chi_square_99(freedom: int) -> float:
    """Its 99th percentile, within 1 % (E. Wilson, M. Hilferty, The Distribution of Chi-square, 1931)."""
    if freedom == 0:
        return 0.0
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + 2.326 * math.sqrt(spread)) ** 3

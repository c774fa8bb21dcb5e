"""Places on a shelf, and which places of two photos are the same."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a tier: `tier` 1 = lowest, `x0` < `x1` in shares of the photo's width, 0..1."""

    tier: int
    x0: float
    x1: float

    @property
    def width(self) -> float:
        """Share of the photo's width."""
        return self.x1 - self.x0

    def covered_by(self, other: "Place") -> float:
        """The share of this place, 0..1, that `other` covers."""
        shared = min(self.x1, other.x1) - max(self.x0, other.x0)
        return max(shared, 0.0) / self.width if self.tier == other.tier and self.width > 0 else 0.0


def likeness(one: Place, other: Place, slack: float, least: float) -> float:
    """How much two places are the same, 0..1: their shared part over all of both, each wider by `slack`.

    0 where they share less than `least` of the narrower one: a void that grows or is partly refilled is the
    same place, so it is not their union that decides.
    """
    if one.tier != other.tier:
        return 0.0
    shared = min(one.x1, other.x1) - max(one.x0, other.x0) + 2 * slack
    widths = one.width + 2 * slack, other.width + 2 * slack
    if shared <= 0 or shared < least * min(widths):
        return 0.0
    return min(shared / (sum(widths) - shared), 1.0)


def assign(known: Sequence[Place], seen: Sequence[Place], slack: float, least: float) -> dict[int, int]:
    """Which seen place, by number, each known one is: one to one, with the greatest sum of `likeness`.

    Stretches of a tier do not change sides, so only pairs in the same order from left to right are tried,
    as in the alignment of two sequences. That makes it exact in O(known x seen) steps.
    """
    pairs: dict[int, int] = {}
    for tier in {place.tier for place in known} & {place.tier for place in seen}:
        left, right = _in_order(known, tier), _in_order(seen, tier)
        scores = [[likeness(known[k], seen[s], slack, least) for s in right] for k in left]
        pairs |= {left[k]: right[s] for k, s in _align(scores)}
    return pairs


def _in_order(places: Sequence[Place], tier: int) -> list[int]:
    numbers = [number for number, place in enumerate(places) if place.tier == tier]
    return sorted(numbers, key=lambda number: (places[number].x0 + places[number].x1, number))


def _align(scores: list[list[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column) that both rise, with the greatest sum of scores; scores of 0 are no pair."""
    rows, columns = len(scores), len(scores[0])
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for k in range(rows):
        for s in range(columns):
            best[k + 1][s + 1] = max(best[k][s + 1], best[k + 1][s], best[k][s] + scores[k][s])
    pairs, k, s = [], rows, columns
    while k and s:
        if best[k][s] == best[k - 1][s]:
            k -= 1
        elif best[k][s] == best[k][s - 1]:
            s -= 1
        else:
            k, s = k - 1, s - 1
            pairs.append((k, s))
    return pairs

"""Boards without a single product, seen from the distance of the boards above and below."""

import numpy as np

from stocktake.boxes import box_area, intersection_matrix
from stocktake.shelf.gaps import Gaps
from stocktake.shelf.level import Numbers, median
from stocktake.shelf.tiers import Tiers
from stocktake.void_kinds import EMPTY_TIER

TALL = 1.7  # usual distances between two boards that leave room for an empty one between them
FILLED = 0.8  # share of the distance between two boards that a void on the lower one spans
OVERLAP = 0.5  # of the shorter of two boards that they share when one is above the other
MIN_PAIRS = 3  # pairs of boards that say what distance is usual
CROWDED = 0.2  # share of an empty board's box that boxes may cover


def find_empty_tiers(boxes: Numbers, tiers: Tiers) -> Gaps:
    """Empty boards between those of boxes (n, 4), as gaps of kind empty_tier on the board below them."""
    above = [_next_above(tiers, board) for board in range(len(tiers.row))]
    pairs = [(lower, upper) for lower, upper in enumerate(above) if upper >= 0]
    distance = np.array([tiers.row[lower] - tiers.row[upper] for lower, upper in pairs])
    gaps = Gaps.none()
    if len(pairs) >= MIN_PAIRS:
        usual = median(distance)
        for (lower, upper), between in zip(pairs, distance, strict=True):
            if between >= TALL * usual:
                pitch = between / round(between / usual)
                gaps = gaps.join(_empty_boards(boxes, tiers, lower, upper, pitch))
    covered = intersection_matrix(gaps.box, boxes).sum(axis=1)
    return gaps.pick(covered < CROWDED * box_area(gaps.box))


def _next_above(tiers: Tiers, lower: int) -> int:
    """The nearest board above `lower` that shares its width, -1 = none."""
    shared = np.minimum(tiers.x2, tiers.x2[lower]) - np.maximum(tiers.x1, tiers.x1[lower])
    shorter = np.minimum(tiers.x2 - tiers.x1, tiers.x2[lower] - tiers.x1[lower])
    above = np.flatnonzero((tiers.row < tiers.row[lower]) & (shared > OVERLAP * shorter))
    return int(above[tiers.row[above].argmax()]) if len(above) else -1


def _empty_boards(boxes: Numbers, tiers: Tiers, lower: int, upper: int, pitch: float) -> Gaps:
    """The empty boards every `pitch` px between two boards; none where the products below reach higher."""
    front = np.flatnonzero(tiers.front & (tiers.board == lower))
    stack = np.flatnonzero(tiers.board == lower)
    if np.quantile(boxes[tiers.foot[stack], 3] - boxes[stack, 1], 0.9) > pitch:
        return Gaps.none()
    x1, x2 = min(tiers.x1[lower], tiers.x1[upper]), max(tiers.x2[lower], tiers.x2[upper])
    row = np.arange(tiers.row[lower] - pitch, tiers.row[upper] + pitch / 2, -pitch)
    middle = np.full(len(row), (x1 + x2) / 2)
    top, bottom = tiers.level.y(middle, row - FILLED * pitch), tiers.level.y(middle, row)
    box = np.stack([np.full(len(row), x1), top, np.full(len(row), x2), bottom], axis=1)
    width = median(boxes[front, 2] - boxes[front, 0])
    first, last = front[boxes[front, 0].argmin()], front[boxes[front, 2].argmax()]
    ones = np.ones(len(row))
    return Gaps(
        box=box.astype(np.float32),
        board=np.full(len(row), lower),
        kind=np.full(len(row), EMPTY_TIER, "U10"),
        room=(x2 - x1) / width * ones,
        left=np.full(len(row), first),
        right=np.full(len(row), last),
        agree=ones,
        blank=0 * ones,
        headroom=ones,
        ragged=0 * ones,
        size=np.full(len(row), len(front)),
    )

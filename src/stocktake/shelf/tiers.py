"""Which products stand side by side on one shelf board, and which on top of or behind others.

Boxes are linked to their right neighbour in levelled coordinates and the links gathered into boards. A box
that stands on another one belongs to the foot of its stack; a line of boxes that floats a little above a
board is a back row of it, since two boards are at least the height of a product apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stocktake.shelf.level import Indices, Level, Numbers, Runs, estimate_level, follow, link, median, pairs

MIN_BOARD = 3  # boxes in a line that make a board
# widest gap, in mean widths, bridged in each round of linking
REACHES = (1.0, 3.0, 8.0, np.inf, np.inf, np.inf)
STACK_GAP = 0.12  # a bottom this close to a top, in heights of the lower box, stands on it
TWIN_STACK_GAP = 0.25  # the same for two boxes of one size, one right above the other
DOUBTFUL_STACK_GAP = 0.35  # up to here the neighbours decide
TWIN = 0.15  # twins differ by less in width, height and middle, in sizes of the lower one
BEHIND = 0.5  # a box less than this above a board, in heights of its products, stands in a back row
ON_BOARD = 0.15  # a box less than this off a board's line, in heights, stands on its front
SIDE_BY_SIDE = 0.3  # boards that share no more than this of the shorter one are side by side
NEAR_END = 3.0  # heights by which a board is thought to go on past its last product


@dataclass(frozen=True, slots=True)
class Tiers:
    """The boards of one shelf and which of its n boxes stand on which.

    A board is one straight line of products; boards of two bays at about one height are two boards with the
    same tier number. Per box: `board` (n,) int64, -1 = on none; `front` (n,) bool, in the first row and on
    the board itself; `foot` (n,) int64, index of the lowest box of its stack, its own if it is not stacked.
    Per board: `number` (b,) int64, 1 = lowest tier; `row` (b,) levelled; `x1`, `x2` (b,) ends of the front
    row, px. `level` gives levelled coordinates.
    """

    board: Indices
    front: NDArray[np.bool_]
    foot: Indices
    number: Indices
    row: Numbers
    x1: Numbers
    x2: Numbers
    level: Level

    @property
    def count(self) -> int:
        """How many tiers there are, one above the other."""
        return int(self.number.max(initial=0))

    @property
    def of_box(self) -> Indices:
        """(n,) tier number of each box, 1 = lowest, 0 = on no tier."""
        return np.append(self.number, 0)[self.board]


@dataclass(frozen=True, slots=True)
class _Line:
    """Products along one board: rising `x` and levelled `row` of each; usual `height`, ends, mean row."""

    x: Numbers
    row: Numbers
    height: float
    x1: float
    x2: float
    middle: float

    @classmethod
    def through(cls, boxes: Numbers, rows: Numbers) -> "_Line":
        x = (boxes[:, 0] + boxes[:, 2]) / 2
        order = np.argsort(x)
        height = median(boxes[:, 3] - boxes[:, 1])
        ends = float(boxes[:, 0].min()), float(boxes[:, 2].max())
        return cls(x[order], rows[order], height, *ends, float(rows.mean()))

    def lift(self, x: Numbers, row: Numbers) -> Numbers:
        """How far points at `x`, `row` are above the board, levelled px."""
        return np.interp(x, self.x, self.row) - row


def find_tiers(boxes: Numbers) -> Tiers:
    """Group boxes (n, 4), all of them usable, into tiers."""
    level = estimate_level(boxes)
    rows = level.row((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3])
    board, front = np.full(len(boxes), -1), np.zeros(len(boxes), np.bool_)
    foot = _feet(boxes, rows) if len(boxes) else board
    standing = np.flatnonzero(foot == np.arange(len(boxes)))
    if len(standing):
        board[standing], front[standing] = _boards(boxes[standing], rows[standing])
    members = [np.flatnonzero(front & (board == number)) for number in range(int(board.max(initial=-1)) + 1)]
    row = np.array([median(rows[m]) for m in members])
    x1 = np.array([boxes[m, 0].min() for m in members])
    x2 = np.array([boxes[m, 2].max() for m in members])
    return Tiers(board[foot], front, foot, number_tiers(row, x1, x2), row, x1, x2, level)


def number_tiers(row: Numbers, x1: Numbers, x2: Numbers) -> Indices:
    """(b,) tier of boards at levelled `row` from `x1` to `x2`, (b,) each; the lowest is 1.

    A board is one tier above the highest of those that lie below it and share some of its width.
    """
    number = np.ones(len(row), np.int64)
    order = np.argsort(-row, kind="stable")
    for place, upper in enumerate(order):
        lower = order[:place]
        shared = np.minimum(x2[lower], x2[upper]) - np.maximum(x1[lower], x1[upper])
        lower = lower[shared > SIDE_BY_SIDE * np.minimum(x2[lower] - x1[lower], x2[upper] - x1[upper])]
        number[upper] = 1 + number[lower].max(initial=0)
    return number


def _feet(boxes: Numbers, rows: Numbers) -> Indices:
    """(n,) index of the lowest box of the stack that each box belongs to.

    The space between a top and the bottom above it does not always tell a stack from a low shelf. Where in
    doubt, a box goes with the majority of the boxes in line with it.
    """
    below, gap, twin = _support(boxes)
    sure = gap < np.where(twin, TWIN_STACK_GAP, STACK_GAP)
    index = np.arange(len(boxes))
    left, right = link(Runs.of_boxes(boxes, rows), reach=REACHES[0])
    parent = index.copy()
    parent[right] = left
    line = follow(parent)
    size = np.bincount(line, minlength=len(boxes))[line]
    share = np.bincount(line, sure, minlength=len(boxes))[line] / size
    stacked = (gap < DOUBTFUL_STACK_GAP) & np.where(size >= MIN_BOARD, share >= 0.5, sure)
    return follow(np.where(stacked, below, index))


def _support(boxes: Numbers) -> tuple[Indices, Numbers, NDArray[np.bool_]]:
    """Per box (n,): the box whose top is nearest below, the gap in heights (inf = none), are they twins."""
    x1, y1, x2, y2 = boxes.T
    width, height, middle = x2 - x1, y2 - y1, (x1 + x2) / 2
    near = np.abs(y1[None, :] - y2[:, None]) < DOUBTFUL_STACK_GAP * height.max()
    top, foot = pairs(near & (x1[None, :] < x2[:, None]) & (x2[None, :] > x1[:, None]))
    lower = np.minimum(height[top], height[foot])
    shared = np.minimum(x2[top], x2[foot]) - np.maximum(x1[top], x1[foot])
    above = shared > 0.5 * np.minimum(width[top], width[foot])
    above &= (y2[top] < y2[foot] - 0.3 * height[foot]) & (y1[top] < y1[foot] - 0.3 * lower)
    gaps = np.where(above, np.abs(y1[foot] - y2[top]) / lower, np.inf)
    worst_first = np.argsort(-gaps, kind="stable")
    below, gap = np.arange(len(boxes)), np.full(len(boxes), np.inf)
    below[top[worst_first]], gap[top[worst_first]] = foot[worst_first], gaps[worst_first]
    twin = np.abs(middle - middle[below]) < TWIN * width[below]
    twin &= np.abs(width - width[below]) < TWIN * width[below]
    twin &= np.abs(height - height[below]) < TWIN * height[below]
    return below, gap, twin


def _boards(boxes: Numbers, rows: Numbers) -> tuple[Indices, NDArray[np.bool_]]:
    """Board (n,) of boxes that are not stacked, -1 = none, and whether they stand on its front."""
    chain = _chains(boxes, rows)
    board, front = np.full(len(boxes), -1), np.zeros(len(boxes), np.bool_)
    lines: list[_Line] = []
    size = np.bincount(chain)
    for number in np.argsort(-size, kind="stable")[: (size >= MIN_BOARD).sum()]:
        members = np.flatnonzero(chain == number)
        line = _Line.through(boxes[members], rows[members])
        host, lift = _host(line, lines)
        if host < 0:
            host = len(lines)
            lines.append(line)
        board[members] = host
        front[members] = abs(lift) < ON_BOARD * min(line.height, lines[host].height)
    _adopt(boxes, rows, lines, board, front)
    return board, front


def _chains(boxes: Numbers, rows: Numbers) -> Indices:
    """(n,) number of the chain of each box: neighbours are linked, then the ends of whole chains."""
    chain = np.arange(len(boxes))
    runs = Runs.of_boxes(boxes, rows)
    for reach in REACHES:
        left, right = link(runs, reach)
        if not len(left):
            continue
        parent = np.arange(len(runs.x1))
        parent[right] = left
        chain = np.unique(follow(parent)[chain], return_inverse=True)[1].reshape(-1)
        runs = Runs.of_chains(boxes, rows, chain)
    return chain


def _host(line: _Line, larger: list[_Line]) -> tuple[int, float]:
    """Which of the larger lines is too near to be another board, -1 = none, and the height above it, px."""
    best, best_lift = -1, 0.0
    for number, other in enumerate(larger):
        if abs(line.middle - other.middle) > 2 * max(line.height, other.height):
            continue
        if ((line.x > other.x1) & (line.x < other.x2)).mean() < 0.5:
            continue
        lift = median(other.lift(line.x, line.row))
        near = BEHIND * (other.height if lift > 0 else line.height)
        if abs(lift) < near and (best < 0 or abs(lift) < abs(best_lift)):
            best, best_lift = number, lift
    return best, best_lift


def _adopt(
    boxes: Numbers, rows: Numbers, lines: list[_Line], board: Indices, front: NDArray[np.bool_]
) -> None:
    """Give loose boxes to the nearest board that they stand on or behind: changes `board` and `front`."""
    loose = np.flatnonzero(board < 0)
    if not len(loose) or not lines:
        return
    x, height = (boxes[loose, 0] + boxes[loose, 2]) / 2, boxes[loose, 3] - boxes[loose, 1]
    lift = np.stack([line.lift(x, rows[loose]) for line in lines])
    other = np.array([line.height for line in lines])[:, None]
    past = np.stack([np.maximum(line.x1 - x, x - line.x2) for line in lines]) / other
    near = (lift < BEHIND * other) & (-lift < BEHIND * height) & (past < NEAR_END)
    away = np.where(near, np.abs(lift), np.inf)
    nearest = away.argmin(axis=0)
    away = away[nearest, np.arange(len(loose))]
    found = np.isfinite(away)
    board[loose[found]] = nearest[found]
    front[loose] = away < ON_BOARD * np.minimum(height, other[nearest, 0])

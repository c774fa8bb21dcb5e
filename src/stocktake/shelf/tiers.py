"""Which products stand side by side on one shelf board.

Tiers are found in two steps. First the photo is levelled: the lines along which products stand are taken to
meet in one vanishing point, which covers a tilted camera (the point is far away) and an oblique view (the
lines fan out). In levelled coordinates every board is a horizontal line, and boxes are then linked to their
right neighbour and the links gathered into tiers. Boxes that stand on other boxes belong to the tier of the
lowest box of their column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stocktake.boxes import FloatArray

SAME_BOARD = 0.25  # levelled bottoms of neighbours on one board differ by less, in heights of the lower box
STACK_GAP = 0.12  # a box whose bottom is this close to a top (in heights of the lower box) stands on it
SAME_PRODUCT_STACK_GAP = 0.25  # the same for two boxes of one size, one right above the other
MIN_BOARD = 3  # boxes; fewer in a line are not a tier
BEHIND = 0.5  # a box that floats less than this above a board, in board heights, stands in a back row of it


@dataclass(frozen=True, slots=True)
class Level:
    """Map from photo to levelled coordinates: ``v = (y - tilt * x) / (1 + fan * x)``, x from the photo's middle.

    `tilt` is the slope of a board through the middle of the photo, `fan` (1/px) how the slope grows downwards:
    at (0, y) a board has the slope ``tilt + fan * y``. All boards through one vanishing point have constant v.
    """

    tilt: float
    fan: float
    middle: tuple[float, float]

    def row(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Levelled row v of photo points, same shape as `x`, px."""
        x = x - self.middle[0]
        return (y - self.middle[1] - self.tilt * x) / (1 + self.fan * x)

    def y(self, x: FloatArray, row: FloatArray) -> FloatArray:
        """Photo y at `x` of levelled `row`: the inverse of `row`."""
        x = x - self.middle[0]
        return row * (1 + self.fan * x) + self.tilt * x + self.middle[1]

    def column(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Photo x moved along an upright of the shelf to the photo's middle height: uprights lean with the tilt."""
        return x + self.tilt * (y - self.middle[1])


@dataclass(frozen=True, slots=True)
class Tiers:
    """The boards of one shelf and which of the n boxes stand on which.

    A board is one straight line of products; boards of two bays at about one height are two boards with the
    same tier number. Per box: `board` (n,) int64, -1 = on none; `front` (n,) bool, stands on the board itself
    in the first row; `foot` (n,) int64, index of the lowest box of its stack, itself if it is not stacked.
    Per board: `number` (b,) int64, 1 = lowest. `level` maps to levelled coordinates.
    """

    board: NDArray[np.int64]
    front: NDArray[np.bool_]
    foot: NDArray[np.int64]
    number: NDArray[np.int64]
    level: Level

    @property
    def count(self) -> int:
        """How many tiers there are, one above the other."""
        return int(self.number.max(initial=0))

    @property
    def of_box(self) -> NDArray[np.int64]:
        """(n,) tier number of each box, 1 = lowest, 0 = on no tier."""
        return np.append(self.number, 0)[self.board]


def find_tiers(boxes: FloatArray) -> Tiers:
    """Group boxes (n, 4), all of them usable, into tiers."""
    if not len(boxes):
        none = np.zeros(0, np.int64)
        return Tiers(none, np.zeros(0, np.bool_), none, none, Level(0.0, 0.0, (0.0, 0.0)))
    level = estimate_level(boxes)
    rows = level.row((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3])
    foot = _feet(boxes, rows)
    standing = np.flatnonzero(foot == np.arange(len(boxes)))
    board = np.full(len(boxes), -1)
    front = np.zeros(len(boxes), np.bool_)
    board[standing], front[standing] = _boards(boxes[standing], rows[standing])
    board = board[foot]
    return Tiers(board, front, foot, _numbers(boxes, rows, board, front), level)


def _boards(boxes: FloatArray, rows: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Board (-1 = none) and front row of boxes that stand, largest chains first.

    Two boards one above the other are at least the height of the lower products apart; a chain that is nearer
    to a larger one is a row behind or before it on the same board.
    """
    chain = _chains(boxes, rows)
    centre, height = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3] - boxes[:, 1]
    board, front = np.full(len(boxes), -1), np.zeros(len(boxes), np.bool_)
    size = np.bincount(chain)
    count = 0
    floors = []
    for k in np.argsort(-size, kind="stable"):
        members = np.flatnonzero(chain == k)
        members = members[np.argsort(centre[members])]
        best, lift = -1, np.inf
        for b, (x, y, h, x1, x2) in enumerate(floors):
            inside = (centre[members] > x1) & (centre[members] < x2)
            if inside.mean() < 0.5 and len(members) >= MIN_BOARD:
                continue
            if len(members) < MIN_BOARD and not ((centre[members] > x1 - 3*h) & (centre[members] < x2 + 3*h)).all():
                continue
            rise = float(np.median(np.interp(centre[members], x, y) - rows[members]))
            lower = h if rise > 0 else float(np.median(height[members]))
            if abs(rise) < BEHIND * lower and abs(rise) < lift:
                best, lift, unit = b, abs(rise), min(h, float(np.median(height[members])))
        if best >= 0:
            board[members] = best
            front[members] = lift < 0.15 * unit
        elif len(members) >= MIN_BOARD:
            board[members], front[members] = count, True
            floors.append((centre[members], rows[members], float(np.median(height[members])), boxes[members,0].min(), boxes[members,2].max()))
            count += 1
    return board, front


def estimate_level(boxes: FloatArray) -> Level:
    """Fit `Level` to the slopes between bottoms of adjacent boxes (n, 4), robust to links across boards."""
    if len(boxes) < 2:
        return Level(0.0, 0.0, (0.0, 0.0))
    centre = (boxes[:, 0] + boxes[:, 2]) / 2
    level = Level(0.0, 0.0, (float(centre.mean()), float(boxes[:, 3].mean())))
    for reach, step in ((0.7, 0.6), (0.7, 0.4), (1.5, SAME_BOARD)):
        left, right = _links(_Runs.of_boxes(boxes, level.row(centre, boxes[:, 3])), reach, step)
        if len(left) < MIN_BOARD:
            break
        level = _fit_level(
            np.stack([centre, boxes[:, 3]]) - np.array(level.middle)[:, None], left, right, level
        )
    return level


def _fit_level(points: FloatArray, left: NDArray[np.int64], right: NDArray[np.int64], level: Level) -> Level:
    """Tukey-weighted least squares of ``tilt + fan * (y - slope * x) = slope`` over the links left -> right."""
    x, y = (points[:, left] + points[:, right]) / 2
    run, rise = points[:, right] - points[:, left]
    slope = rise / run
    span = max(float(np.ptp(y)), 1.0)
    design = np.stack([np.ones_like(y), (y - slope * x) / span], axis=1)
    solution = np.array([np.median(slope), 0.0])
    for _ in range(8):
        residual = slope - design @ solution
        scale = max(4.5 * float(np.median(np.abs(residual))), 0.015)
        weighted = design * (run * np.clip(1 - (residual / scale) ** 2, 0, None) ** 2)[:, None]
        shrink = np.diag([1e-9, 0.05 * weighted[:, 0].sum()])  # few links say little about the fan
        solution = np.linalg.solve(weighted.T @ design + shrink, weighted.T @ slope)
    limit = 0.7 / (float(np.abs(x).max()) + 1)  # keeps 1 + fan * x positive
    return Level(float(solution[0]), float(np.clip(solution[1] / span, -limit, limit)), level.middle)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Boxes or lines of boxes, from left to right: ends x1, x2, levelled rows at both ends, height and width."""

    x1: FloatArray
    x2: FloatArray
    row1: FloatArray
    row2: FloatArray
    height: FloatArray
    width: FloatArray

    @classmethod
    def of_boxes(cls, boxes: FloatArray, rows: FloatArray) -> "_Runs":
        return cls(boxes[:, 0], boxes[:, 2], rows, rows, boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0])

    @classmethod
    def of_chains(cls, boxes: FloatArray, rows: FloatArray, chain: NDArray[np.int64]) -> "_Runs":
        count = int(chain.max()) + 1
        order = np.lexsort((boxes[:, 0], chain))
        first = np.searchsorted(chain[order], np.arange(count))
        last = np.append(first[1:], len(order)) - 1
        size = last - first + 1
        x2 = np.full(count, -np.inf, np.float32)
        np.maximum.at(x2, chain, boxes[:, 2])
        near = rows[order]
        second, before = np.minimum(first + 1, last), np.maximum(last - 1, first)
        height = np.bincount(chain, boxes[:, 3] - boxes[:, 1]) / size
        width = np.bincount(chain, boxes[:, 2] - boxes[:, 0]) / size
        ends = (near[first] + near[second]) / 2, (near[last] + near[before]) / 2
        return cls(boxes[order[first], 0], x2, *ends, height, width)


def _links(runs: _Runs, reach: float, tol: float = SAME_BOARD) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (left, right) of runs that are each other's best neighbour on a board.

    `reach` is the widest gap between the two, in mean widths.
    """
    width = (runs.width[:, None] + runs.width[None, :]) / 2
    gap = (runs.x1[None, :] - runs.x2[:, None]) / width
    step = np.abs(runs.row1[None, :] - runs.row2[:, None])
    step = step / np.minimum(runs.height[:, None], runs.height[None, :])
    ahead = (runs.x1[None, :] > runs.x1[:, None]) & (runs.x2[None, :] > runs.x2[:, None])
    possible = ahead & (gap > -0.4) & (gap < reach) & (step < tol)
    cost = np.where(possible, np.abs(gap) + step / tol, np.inf)
    right, left = cost.argmin(axis=1), cost.argmin(axis=0)
    index = np.arange(len(runs.x1))
    mutual = (left[right] == index) & np.isfinite(cost[index, right])
    return index[mutual], right[mutual]


def _chains(boxes: FloatArray, rows: FloatArray) -> NDArray[np.int64]:
    """(n,) chain of each box: link neighbours, then the ends of whole chains, until nothing more fits."""
    chain = np.arange(len(boxes))
    runs = _Runs.of_boxes(boxes, rows)
    for reach in (1.0, 3.0, 8.0, np.inf, np.inf, np.inf):
        left, right = _links(runs, reach)
        parent = np.arange(len(runs.x1))
        parent[right] = left
        while (parent[parent] != parent).any():
            parent = parent[parent]
        chain = np.unique(parent[chain], return_inverse=True)[1].reshape(-1)
        runs = _Runs.of_chains(boxes, rows, chain)
    return chain


def _feet(boxes: FloatArray, rows: FloatArray) -> NDArray[np.int64]:
    """(n,) index of the lowest box of the stack that each box belongs to."""
    index = np.arange(len(boxes))
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    centre = (boxes[:, 0] + boxes[:, 2]) / 2
    shared = np.minimum(boxes[:, None, 2], boxes[None, :, 2]) - np.maximum(boxes[:, None, 0], boxes[None, :, 0])
    low = np.minimum(height[:, None], height[None, :])
    gap = np.abs(boxes[None, :, 1] - boxes[:, None, 3]) / low
    above = (boxes[:, None, 3] < boxes[None, :, 3] - 0.3 * height[None, :]) & (
        boxes[:, None, 1] < boxes[None, :, 1] - 0.3 * low
    )
    above &= shared > 0.5 * np.minimum(width[:, None], width[None, :])
    twin = np.abs(centre[:, None] - centre[None, :]) < 0.15 * width[None, :]
    twin &= np.abs(width[:, None] - width[None, :]) < 0.15 * width[None, :]
    twin &= np.abs(height[:, None] - height[None, :]) < 0.15 * height[None, :]
    cost = np.where(above & (gap < LOOSE), gap, np.inf)
    below = cost.argmin(axis=1)
    gap, twin = cost[index, below], twin[index, below]
    sure = gap < np.where(twin, SAME_PRODUCT_STACK_GAP, STACK_GAP)
    runs = _Runs.of_boxes(boxes, rows)
    left, right = _links(runs, 1.0)
    parent = index.copy()
    parent[right] = left
    while (parent[parent] != parent).any():
        parent = parent[parent]
    size = np.bincount(parent, minlength=len(boxes))
    share = np.bincount(parent, sure, minlength=len(boxes)) / np.maximum(size, 1)
    share, size = share[parent], size[parent]
    stacked = np.isfinite(gap) & np.where(size >= VOTERS, share >= VOTE, sure)
    foot = np.where(stacked, below, index)
    while (foot[foot] != foot).any():
        foot = foot[foot]
    return foot


LOOSE = 0.35
VOTERS = 3
VOTE = 0.5


def _numbers(
    boxes: FloatArray, rows: FloatArray, board: NDArray[np.int64], front: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(b,) tier number of each board: one more than the highest board below that it overlaps sideways."""
    count = int(board.max(initial=-1)) + 1
    members = [np.flatnonzero(front & (board == number)) for number in range(count)]
    row = np.array([np.median(rows[m]) for m in members])
    x1 = np.array([boxes[m, 0].min() for m in members])
    x2 = np.array([boxes[m, 2].max() for m in members])
    number = np.ones(count, np.int64)
    order = np.argsort(-row)
    for place, upper in enumerate(order):
        lower = order[:place]
        shared = np.minimum(x2[lower], x2[upper]) - np.maximum(x1[lower], x1[upper])
        lower = lower[shared > 0.3 * np.minimum(x2[lower] - x1[lower], x2[upper] - x1[upper])]
        number[upper] = 1 + number[lower].max(initial=0)
    return number

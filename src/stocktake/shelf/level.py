"""Levelling a shelf photo: where the boards lie when the camera is tilted or looks from the side.

The lines along which products stand are taken to meet in one vanishing point. It is far away for a tilted
camera and nearer for an oblique view, in which the lines fan out. Once levelled, every board is horizontal.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Numbers = NDArray[np.floating[Any]]
SAME_BOARD = 0.25  # ends of neighbours on one board differ by less, in heights of the lower of the two
OVERLAP = -0.4  # gap, in mean widths, from which two boxes are no longer side by side
MIN_LINKS = 3  # fewer pairs of neighbours say nothing about the camera
LARGEST_FAN = 0.7  # of the photo's half width; 1 would put the vanishing point into the photo


@dataclass(frozen=True, slots=True)
class Level:
    """Map from photo to levelled coordinates: ``row = (y - tilt * x) / (1 + fan * x)``, from `middle` (px).

    `tilt` is the slope of the board through `middle`; `fan` (1/px) says how slopes grow downwards: at (0, y)
    a board has the slope ``tilt + fan * y``. Points on one line through the vanishing point share a row.
    """

    tilt: float
    fan: float
    middle: tuple[float, float]

    def row(self, x: Numbers, y: Numbers) -> Numbers:
        """Levelled row, px, of photo points at `x`, `y`, arrays of one shape."""
        x = x - self.middle[0]
        return (y - self.middle[1] - self.tilt * x) / (1 + self.fan * x)

    def y(self, x: Numbers, row: Numbers) -> Numbers:
        """Photo y where a levelled `row` passes `x`; the inverse of `row`."""
        x = x - self.middle[0]
        return row * (1 + self.fan * x) + self.tilt * x + self.middle[1]

    def column(self, x: Numbers, y: Numbers) -> Numbers:
        """Photo x where the upright through (`x`, `y`) passes the middle: uprights lean as boards tilt."""
        return x + self.tilt * (y - self.middle[1])


@dataclass(frozen=True, slots=True)
class Runs:
    """Things in line, (k,) arrays: ends `x1`, `x2`, levelled rows there, mean `width` and `height`."""

    x1: Numbers
    x2: Numbers
    row1: Numbers
    row2: Numbers
    width: Numbers
    height: Numbers

    @classmethod
    def of_boxes(cls, boxes: Numbers, rows: Numbers) -> "Runs":
        """Each box (k, 4) by itself, `rows` (k,) being the levelled rows of the bottoms."""
        width, height = (boxes[:, 2:] - boxes[:, :2]).T
        return cls(boxes[:, 0], boxes[:, 2], rows, rows, width, height)

    @classmethod
    def of_chains(cls, boxes: Numbers, rows: Numbers, chain: Indices) -> "Runs":
        """One run per chain; `chain` (n,) numbers those of the boxes (n, 4) from 0 without holes."""
        order = np.lexsort((boxes[:, 0], chain))
        first = np.flatnonzero(np.diff(chain[order], prepend=-1))
        last = np.append(first[1:], len(order)) - 1
        second, last_but_one = np.minimum(first + 1, last), np.maximum(last - 1, first)
        width, height = (boxes[order, 2:] - boxes[order, :2]).T
        size = last - first + 1
        row = rows[order]
        return cls(
            boxes[order[first], 0],
            np.maximum.reduceat(boxes[order, 2], first),
            (row[first] + row[second]) / 2,
            (row[last] + row[last_but_one]) / 2,
            np.add.reduceat(width, first) / size,
            np.add.reduceat(height, first) / size,
        )


def link(runs: Runs, reach: float, step: float = SAME_BOARD) -> tuple[Indices, Indices]:
    """Pairs (left, right) of runs that are each other's best neighbour on a board, as two arrays of indices.

    Their gap is below `reach` mean widths, and their rows differ by less than `step` heights of the lower
    one.
    """
    gap = runs.x1[None, :] - runs.x2[:, None]
    rise = runs.row1[None, :] - runs.row2[:, None]
    widest, highest = runs.width.max(initial=0), runs.height.max(initial=0)
    rough = (gap < reach * widest) & (gap > OVERLAP * widest) & (np.abs(rise) < step * highest)
    a, b = pairs(rough)  # few pass, and only for those the rest is worked out
    gaps = gap[a, b] / (runs.width[a] + runs.width[b]) * 2
    rises = np.abs(rise[a, b]) / np.minimum(runs.height[a], runs.height[b])
    ahead = (runs.x1[b] > runs.x1[a]) & (runs.x2[b] > runs.x2[a])
    possible = np.flatnonzero(ahead & (gaps > OVERLAP) & (gaps < reach) & (rises < step))
    worst_first = np.argsort(-(np.abs(gaps) + rises / step)[possible], kind="stable")
    a, b = a[possible][worst_first], b[possible][worst_first]
    right, left = np.full(len(runs.x1), -1), np.full(len(runs.x1), -1)
    right[a], left[b] = b, a  # of several the last one written stays, which is the best
    mutual = np.flatnonzero((right >= 0) & (left[right] == np.arange(len(right))))
    return mutual, right[mutual]


def pairs(table: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Row and column of each True in a (k, k) table: `np.nonzero`, at a third of its time."""
    row, column = np.divmod(np.flatnonzero(table), max(len(table), 1))
    return row, column


def median(values: Numbers) -> float:
    """Median of (k,) numbers, k > 0: `np.median` takes ten times as long for the few products of a board."""
    ordered = np.sort(values)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def follow(parent: Indices) -> Indices:
    """(n,) where each index ends up when it follows `parent` (n,); an end is its own parent."""
    while (parent[parent] != parent).any():
        parent = parent[parent]
    return parent


def estimate_level(boxes: Numbers) -> Level:
    """Fit `Level` to the bottoms of boxes (n, 4) that stand side by side; level where they say nothing."""
    if len(boxes) < 2:
        return Level(0.0, 0.0, (0.0, 0.0))
    points = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]])
    middle = points.mean(axis=1)
    level = Level(0.0, 0.0, (float(middle[0]), float(middle[1])))
    for reach, step in ((0.7, 0.6), (0.7, 0.4), (1.5, SAME_BOARD)):
        left, right = link(Runs.of_boxes(boxes, level.row(*points)), reach, step)
        if len(left) < MIN_LINKS:
            break
        tilt, fan = _fit(points - middle[:, None], left, right)
        level = Level(tilt, fan, level.middle)
    return level


def _fit(points: Numbers, left: Indices, right: Indices) -> tuple[float, float]:
    """Tilt and fan by weighted least squares of ``tilt + fan * (y - slope * x) = slope`` over the links.

    That is the slope at (x, y) of the line through the vanishing point, made linear in tilt and fan. Links
    across boards are outliers, which biweights take out (Beaton and Tukey 1974).
    """
    (x, y), (run, rise) = (points[:, left] + points[:, right]) / 2, points[:, right] - points[:, left]
    slope = rise / run
    span = max(float(np.ptp(y)), 1.0)
    design = np.stack([np.ones_like(y), (y - slope * x) / span], axis=1)
    tilt_fan = np.array([median(slope), 0.0])
    for _ in range(5):
        residual = slope - design @ tilt_fan
        limit = max(4.5 * median(np.abs(residual)), 0.015)
        weighted = design * (run * np.clip(1 - (residual / limit) ** 2, 0, None) ** 2)[:, None]
        total = weighted[:, 0].sum()
        shrink = np.diag([1e-6 * total + 1e-9, 0.002 * total + 1e-9])  # links on few boards know no fan
        tilt_fan = np.linalg.solve(weighted.T @ design + shrink, weighted.T @ slope)
    largest = LARGEST_FAN / (float(np.abs(points[0]).max()) + 1)
    return float(tilt_fan[0]), float(np.clip(tilt_fan[1] / span, -largest, largest))

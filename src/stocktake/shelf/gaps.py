"""Stretches of a board where products are missing, from boxes alone.

A gap is measured against the products beside it: its `room` is the number of local facings that fit into it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stocktake.boxes import FloatArray, suppress_overlaps
from stocktake.shelf.tiers import Tiers

NEIGHBOURS = 3  # facings on each side that say what is normal here
HINDRANCE = 0.25  # share of the gap's height that a box must cover to take the place away
LIFTED = 0.1  # a box that floats this much above the board (in its heights) stands in a back row


@dataclass(frozen=True, slots=True)
class Gaps:
    """m gaps, one array per property.

    `box` (m, 4) px; `board` (m,) index; `kind` (m,) gap, edge, empty_tier or low_stock; `room` (m,) facings that
    fit; `pitch` (m,) px from one facing to the next; `left`, `right` (m,) index of the boxes beside the gap,
    -1 for none; `alike` (m,) 0..1 ratio of the widths of the two; `size` (m,) boxes on the board.
    """

    box: FloatArray
    board: NDArray[np.int64]
    kind: NDArray[np.str_]
    room: FloatArray
    pitch: FloatArray
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    alike: FloatArray
    size: NDArray[np.int64]
    agree: FloatArray
    cut: FloatArray

    def __len__(self) -> int:
        return len(self.box)

    def pick(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Gaps":
        """The gaps at `index`."""
        return Gaps(*(getattr(self, name)[index] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Row:
    """The front row of all boards: boxes ordered by board, then from left to right."""

    index: NDArray[np.int64]  # into the boxes
    board: NDArray[np.int64]
    box: FloatArray
    height: FloatArray  # of the whole stack
    reach: FloatArray  # right end of this box and those left of it

    @classmethod
    def of(cls, boxes: FloatArray, tiers: Tiers) -> "_Row":
        index = np.flatnonzero(tiers.front)
        index = index[np.lexsort((boxes[index, 0], tiers.board[index]))]
        top = boxes[:, 1].copy()
        np.minimum.at(top, tiers.foot, boxes[:, 1])
        board, box = tiers.board[index], boxes[index]
        apart = board * (2.0 * float(np.abs(boxes[:, [0, 2]]).max(initial=1)) + 1)
        reach = np.maximum.accumulate(box[:, 2] + apart) - apart
        return cls(index, board, box, box[:, 3] - top[index], reach.astype(np.float32))


def find_gaps(boxes: FloatArray, tiers: Tiers, min_room: float, edges: bool = True) -> Gaps:
    """Gaps of at least `min_room` facings between the boxes (n, 4) of each board and at its ends."""
    row = _Row.of(boxes, tiers)
    inner = np.flatnonzero(row.board[1:] == row.board[:-1])
    left, right, x1, x2 = inner, inner + 1, row.reach[inner], row.box[inner + 1, 0]
    kind = np.full(len(inner), "gap", "U10")
    agree = np.ones(len(inner))
    if edges and len(tiers.number):
        ends = _edges(row, tiers)
        left, right, x1, x2, kind, agree = (
            np.concatenate(pair) for pair in zip((left, right, x1, x2, kind, agree), ends, strict=True)
        )
    return _measure(boxes, tiers, row, left, right, x1, x2, kind, agree, min_room)


def _edges(row: _Row, tiers: Tiers):
    """Stretches from the end of each board to where the boards above and below end."""
    count = len(tiers.number)
    first = np.searchsorted(row.board, np.arange(count))
    last = np.append(first[1:], len(row.board)) - 1
    y = row.box[:, 3]
    rows = tiers.level.row((row.box[:, 0] + row.box[:, 2]) / 2, y)
    x1, x2 = row.box[first, 0], row.reach[last]
    u1, u2 = tiers.level.column(x1, y[first]), tiers.level.column(x2, y[last])
    middle = np.array([np.median(rows[first[b] : last[b] + 1]) for b in range(count)])
    out = []
    for b in range(count):
        shared = np.minimum(u2, u2[b]) - np.maximum(u1, u1[b])
        near = np.flatnonzero((shared > 0.3 * np.minimum(u2 - u1, u2[b] - u1[b])) & (np.arange(count) != b))
        near = near[np.argsort(np.abs(middle[near] - middle[b]))][:EDGE_BOARDS]
        if len(near) < 2:
            continue
        ref1 = np.quantile(u1[near], EDGE_Q) - (u1[b] - x1[b])
        ref2 = np.quantile(u2[near], 1 - EDGE_Q) - (u2[b] - x2[b])
        q1=x1[b]-0.7*(x1[b]-ref1); q2=x2[b]+.7*(ref2-x2[b])
        a1 = np.mean(u1[near] - (u1[b] - x1[b]) < q1)
        a2 = np.mean(u2[near] - (u2[b] - x2[b]) > q2)
        out.append((first[b], first[b], ref1, x1[b], a1))
        out.append((last[b], last[b], x2[b], ref2, a2))
    l, r, a, z, g = (np.array(c) for c in zip(*out)) if out else (np.zeros(0, int),) * 5
    return l.astype(int), r.astype(int), a, z, np.full(len(l), "edge", "U10"), g


EDGE_BOARDS = 6
EDGE_Q = 0.2


def _measure(boxes, tiers, row, left, right, x1, x2, kind, agree, min_room) -> Gaps:
    width, spacing = _local_size(row, left, right)
    pitch = width + spacing
    room = (x2 - x1 - spacing) / pitch
    wide = np.flatnonzero(room >= min_room)
    left, right, x1, x2, pitch, spacing, kind, agree = (
        a[wide] for a in (left, right, x1, x2, pitch, spacing, kind, agree)
    )
    centre = (row.box[:, 0] + row.box[:, 2]) / 2
    rows = tiers.level.row(centre, row.box[:, 3])
    bottom = tiers.level.y((x1 + x2) / 2, (rows[left] + rows[right]) / 2)
    height = np.maximum(row.height[left], row.height[right])
    box = np.stack([x1, bottom - height, x2, bottom], axis=1)
    full = box[:, 3] - box[:, 1]
    box[:, 1] = np.maximum(box[:, 1], _ceiling(boxes, tiers, box, row.board[left]))
    box, lifted = _free_part(boxes, tiers, row, box, left, right)
    room = (box[:, 2] - box[:, 0] - spacing) / pitch
    w = row.box[:, 2] - row.box[:, 0]
    alike = np.minimum(w[left], w[right]) / np.maximum(w[left], w[right])
    size = np.bincount(row.board)[row.board[left]]
    kind = np.where(lifted, "low_stock", kind)
    gaps = Gaps(box, row.board[left], kind, room, pitch, row.index[left], row.index[right], alike, size, agree, (box[:, 3] - box[:, 1]) / full)
    gaps = gaps.pick(room >= min_room)
    return gaps.pick(suppress_overlaps(gaps.box, gaps.size+0.0, 0.5))


def _local_size(
    row: _Row, left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Width of a facing and normal space between two, px, for gaps between row positions `left` and `right`."""
    near = np.concatenate(
        [left[:, None] - np.arange(NEIGHBOURS), right[:, None] + np.arange(NEIGHBOURS)], axis=1
    )
    inside = np.clip(near, 0, len(row.index) - 1)
    same = (near == inside) & (row.board[inside] == row.board[left][:, None])
    width = row.box[:, 2] - row.box[:, 0]
    median = np.nanmedian(np.where(same, width[inside], np.nan), axis=1)
    flanks = np.minimum((width[left] + width[right]) / 2, 2 * median)
    usual = (median + flanks) / 2
    space = np.maximum(row.box[1:, 0] - row.box[:-1, 2], 0)
    ordinary = np.flatnonzero((row.board[1:] == row.board[:-1]) & (space < 0.6 * width[1:]))
    spacing = np.zeros(len(np.bincount(row.board, minlength=1)), np.float32)
    for board in range(len(spacing)):
        mine = ordinary[row.board[ordinary] == board]
        if len(mine):
            spacing[board] = np.median(space[mine])
    return usual, np.minimum(spacing[row.board[left]], 0.5 * usual)


def _ceiling(boxes: FloatArray, tiers: Tiers, box: FloatArray, board: NDArray[np.int64]) -> FloatArray:
    """(m,) y of the lowest board above the middle of each gap, -inf where there is none."""
    ceiling = np.full(len(box), -np.inf, np.float32)
    middle = (box[:, 0] + box[:, 2]) / 2
    for other in range(len(tiers.number)):
        members = np.flatnonzero(tiers.front & (tiers.board == other))
        members = members[np.argsort(boxes[members, 0])]
        centre = (boxes[members, 0] + boxes[members, 2]) / 2
        y = np.interp(middle, centre, boxes[members, 3])
        covers = (middle > boxes[members, 0].min()) & (middle < boxes[members, 2].max())
        above = covers & (other != board) & (y < box[:, 3] - 0.3 * (box[:, 3] - box[:, 1]))
        ceiling = np.where(above, np.maximum(ceiling, y), ceiling)
    return ceiling


def _free_part(boxes, tiers, row, box, left, right):
    """Largest part of each gap that no box stands in, and whether what stands there is a back row."""
    height = box[:, 3] - box[:, 1]
    tall = np.minimum(boxes[None, :, 3], box[:, None, 3]) - np.maximum(boxes[None, :, 1], box[:, None, 1])
    wide = np.minimum(boxes[None, :, 2], box[:, None, 2]) - np.maximum(boxes[None, :, 0], box[:, None, 0])
    blocks = (tall > HINDRANCE * height[:, None]) & (wide > 0)
    blocks[np.arange(len(box)), row.index[left]] = False
    blocks[np.arange(len(box)), row.index[right]] = False
    free, lifted = box.copy(), np.zeros(len(box), bool)
    for gap in np.flatnonzero(blocks.any(axis=1)):
        inside = np.flatnonzero(blocks[gap])
        x1, x2 = _widest_hole(box[gap, 0], box[gap, 2], boxes[inside])
        bottoms = box[gap, 3] - boxes[inside, 3]
        back = bottoms > LIFTED * (boxes[inside, 3] - boxes[inside, 1])
        covered = 1 - (x2 - x1) / (box[gap, 2] - box[gap, 0])
        lifted[gap] = back.all() and covered > 0.5
        if not lifted[gap]:
            free[gap, [0, 2]] = x1, x2
    return free, lifted


def _widest_hole(x1: float, x2: float, boxes: FloatArray) -> tuple[float, float]:
    """Ends of the widest stretch of x1..x2 that none of the boxes (n, 4) covers."""
    order = np.argsort(boxes[:, 0])
    starts = np.append(boxes[order, 0], x2)
    ends = np.maximum.accumulate(np.append(x1, boxes[order, 2]))
    widest = int(np.argmax(starts - ends))
    return float(ends[widest]), float(max(starts[widest], ends[widest]))

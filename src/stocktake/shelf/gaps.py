"""Stretches of a board where products are missing, from boxes alone.

A gap is measured against the products beside it: its `room` is the number of facings of their size that fit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stocktake.boxes import suppress_overlaps
from stocktake.shelf.level import Indices, Numbers, median
from stocktake.shelf.tiers import Tiers
from stocktake.void_kinds import EDGE, GAP, LOW_STOCK

NEIGHBOURS = 3  # facings on each side that say what size is usual here
CLOSE = 0.6  # spaces between products up to here, in widths, are the usual ones
HINDRANCE = 0.25  # share of the gap's height that a box must cover to take the place away
LIFTED = 0.1  # a box that floats this much above the gap's floor, in its heights, stands in a back row
MOSTLY = 0.7  # share of a gap that a back row must fill to make it low stock
EDGE_BOARDS = 6  # nearest boards above and below that say where a board should end
SHARED = 0.3  # of the shorter of two boards that they share when one is above the other
AS_FAR = 0.7  # of an edge that another board must reach to agree that it is there
CORE = 0.5  # middle share of a gap's width that is free on all boards where an upright stands
COLUMN = 0.6  # intersection over union across the photo of two gaps of one post
POST_BOARDS = 4  # with gaps in one column, from which on that is a post or a door frame
POST_ROOM = 3.5  # facings; a wider gap is no post
SAME_GAP = 0.5  # intersection over the smaller area over which two gaps are one


@dataclass(frozen=True, slots=True)
class Gaps:
    """m gaps, one array (m, ...) per property.

    `box` (m, 4) px; `board` index; `kind`: one of VOID_KINDS; `room` in facings; `left`,
    `right` index of the boxes beside it, both the last box of the board for an edge. What confidence is made
    of, all 0..1: `agree` share of the nearby boards that go on past an edge (1 inside a board); `blank` share
    of the other boards with no product above or below the core of the gap, as at an upright; `headroom`
    share of the gap's height below the board above; `ragged` steps between neighbours in their heights (0 =
    all on one line). `size`: boxes on the board.
    """

    box: Numbers
    board: Indices
    kind: NDArray[np.str_]
    room: Numbers
    left: Indices
    right: Indices
    agree: Numbers
    blank: Numbers
    headroom: Numbers
    ragged: Numbers
    size: Indices

    @classmethod
    def none(cls) -> "Gaps":
        """No gaps."""
        index, number = np.zeros(0, np.int64), np.zeros(0)
        box, kind = np.zeros((0, 4), np.float32), np.zeros(0, "U10")
        return cls(box, index, kind, number, index, index, number, number, number, number, index)

    def __len__(self) -> int:
        return len(self.box)

    def pick(self, index: NDArray[np.bool_] | Indices) -> "Gaps":
        """The gaps at `index`."""
        return Gaps(*(getattr(self, name)[index] for name in self.__slots__))

    def join(self, other: "Gaps") -> "Gaps":
        """These gaps and then the `other` ones."""
        return Gaps(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Row:
    """The front row of all boards, ordered by board, then from left to right; one array entry per product.

    `index` into the boxes; `height` of the whole stack; `reach` right end of it and of those left of it;
    `line` levelled bottom; `first`, `last` (b,) positions of the ends of each board.
    """

    index: Indices
    board: Indices
    box: Numbers
    height: Numbers
    reach: Numbers
    line: Numbers
    first: Indices
    last: Indices

    @classmethod
    def of(cls, boxes: Numbers, tiers: Tiers) -> "_Row":
        index = np.flatnonzero(tiers.front)
        index = index[np.lexsort((boxes[index, 0], tiers.board[index]))]
        top = boxes[:, 1].copy()
        np.minimum.at(top, tiers.foot, boxes[:, 1])
        board, box = tiers.board[index], boxes[index]
        apart = board * (2.0 * float(np.abs(boxes[:, [0, 2]]).max(initial=1)) + 1)
        reach = np.maximum.accumulate(box[:, 2] + apart) - apart
        line = tiers.level.row((box[:, 0] + box[:, 2]) / 2, box[:, 3])
        first = np.flatnonzero(np.diff(board, prepend=-1))
        last = np.append(first[1:], len(board)) - 1 if len(first) else first
        return cls(index, board, box, box[:, 3] - top[index], reach, line, first, last)

    @property
    def width(self) -> Numbers:
        return self.box[:, 2] - self.box[:, 0]


@dataclass(frozen=True, slots=True)
class _Spans:
    """Stretches x1..x2 px between the row positions `left` and `right`; `kind` and `agree` as in `Gaps`."""

    left: Indices
    right: Indices
    x1: Numbers
    x2: Numbers
    kind: NDArray[np.str_]
    agree: Numbers

    def pick(self, index: Indices) -> "_Spans":
        return _Spans(*(getattr(self, name)[index] for name in self.__slots__))

    def join(self, other: "_Spans") -> "_Spans":
        return _Spans(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))


def find_gaps(boxes: Numbers, tiers: Tiers, min_room: float, edges: bool = True) -> Gaps:
    """Gaps of `min_room` facings or more between the boxes (n, 4) of each board and at its ends."""
    row = _Row.of(boxes, tiers)
    spans = _inner(row)
    if edges and len(row.first):
        spans = spans.join(_edges(row, tiers))
    width, spacing = _usual_size(row, spans)
    wide = np.flatnonzero(spans.x2 - spans.x1 - spacing >= min_room * (width + spacing))
    spans, width, spacing = spans.pick(wide), width[wide], spacing[wide]
    box, headroom = _boxes_of(tiers, row, spans)
    box, back_row = _free_part(boxes, box, row.index[spans.left], row.index[spans.right])
    room = (box[:, 2] - box[:, 0] - spacing) / (width + spacing)
    board = row.board[spans.left]
    gaps = Gaps(
        box=box,
        board=board,
        kind=np.where(back_row, LOW_STOCK, spans.kind),
        room=room,
        left=row.index[spans.left],
        right=row.index[spans.right],
        agree=spans.agree,
        blank=_blank(boxes, tiers, box, board),
        headroom=headroom,
        ragged=_ragged(row, spans),
        size=(row.last - row.first + 1)[board],
    )
    gaps = gaps.pick(room >= min_room)
    gaps = gaps.pick(~_at_posts(gaps, tiers))
    return gaps.pick(suppress_overlaps(gaps.box, gaps.size.astype(np.float32), SAME_GAP))


def _inner(row: _Row) -> _Spans:
    """Stretches between neighbours on a board."""
    left = np.flatnonzero(row.board[1:] == row.board[:-1])
    kind, agree = np.full(len(left), GAP, "U10"), np.ones(len(left))
    return _Spans(left, left + 1, row.reach[left], row.box[left + 1, 0], kind, agree)


def _edges(row: _Row, tiers: Tiers) -> _Spans:
    """Stretches from the ends of each board to where the boards above and below it end.

    A board should reach as far as the second of those that go on furthest: one alone may jut out.
    """
    first, last = row.first, row.last
    x1, x2 = row.box[first, 0], row.reach[last]
    u1, u2 = tiers.level.column(x1, row.box[first, 3]), tiers.level.column(x2, row.box[last, 3])
    shared = np.minimum(u2[:, None], u2[None, :]) - np.maximum(u1[:, None], u1[None, :])
    near = shared > SHARED * np.minimum((u2 - u1)[:, None], (u2 - u1)[None, :])
    np.fill_diagonal(near, False)
    ends = []
    for board in np.flatnonzero(near.sum(axis=1) >= 2):
        others = np.flatnonzero(near[board])
        nearest = np.argsort(np.abs(tiers.row[others] - tiers.row[board]), kind="stable")[:EDGE_BOARDS]
        left, right = u1[board] - u1[others[nearest]], u2[others[nearest]] - u2[board]  # how far others go on
        go1, go2 = np.sort(left)[-2], np.sort(right)[-2]
        ends.append((first[board], x1[board] - go1, x1[board], (left > AS_FAR * go1).mean()))
        ends.append((last[board], x2[board], x2[board] + go2, (right > AS_FAR * go2).mean()))
    table = np.array(ends, np.float64).reshape(-1, 4)
    position = table[:, 0].astype(np.int64)
    kind = np.full(len(position), EDGE, "U10")
    return _Spans(position, position, table[:, 1], table[:, 2], kind, table[:, 3])


def _usual_size(row: _Row, spans: _Spans) -> tuple[Numbers, Numbers]:
    """Width of a facing and the space between two, px, as usual around each span."""
    steps = np.arange(NEIGHBOURS)
    near = np.concatenate([spans.left[:, None] - steps, spans.right[:, None] + steps], axis=1)
    board = row.board[spans.left]
    inside = (near >= row.first[board][:, None]) & (near <= row.last[board][:, None])
    width = row.width
    around = np.where(inside, width[np.where(inside, near, 0)], np.inf)
    around.sort(axis=1)
    count, index = inside.sum(axis=1), np.arange(len(board))
    usual = (around[index, (count - 1) // 2] + around[index, count // 2]) / 2
    flanks = np.minimum((width[spans.left] + width[spans.right]) / 2, 2 * usual)
    usual = (usual + flanks) / 2
    space = np.maximum(row.box[1:, 0] - row.box[:-1, 2], 0)
    close = space < CLOSE * width[1:]
    spacing = np.zeros(len(row.first))
    for number, (a, b) in enumerate(zip(row.first, row.last, strict=True)):
        if close[a:b].any():
            spacing[number] = median(space[a:b][close[a:b]])
    return usual, np.minimum(spacing[board], CLOSE * usual)


def _boxes_of(tiers: Tiers, row: _Row, spans: _Spans) -> tuple[Numbers, Numbers]:
    """Box (m, 4) of each span, from the board's line up to its higher flank, and `headroom` as in `Gaps`."""
    middle = (spans.x1 + spans.x2) / 2
    bottom = tiers.level.y(middle, (row.line[spans.left] + row.line[spans.right]) / 2)
    height = np.maximum(row.height[spans.left], row.height[spans.right])
    ceiling = np.full(len(middle), -np.inf)
    for number, (a, b) in enumerate(zip(row.first, row.last, strict=True)):
        x = (row.box[a : b + 1, 0] + row.box[a : b + 1, 2]) / 2
        y = np.interp(middle, x, row.box[a : b + 1, 3])
        above = (middle > row.box[a, 0]) & (middle < row.reach[b]) & (row.board[spans.left] != number)
        above &= y < bottom
        ceiling = np.where(above, np.maximum(ceiling, y), ceiling)
    top = np.maximum(bottom - height, ceiling)
    box = np.stack([spans.x1, top, spans.x2, bottom], axis=1).astype(np.float32)
    return box, (bottom - top) / height


def _ragged(row: _Row, spans: _Spans) -> Numbers:
    """(m,) usual step between neighbours on the board plus the step across the gap, in heights."""
    usual = np.zeros(len(row.first))
    for number, (a, b) in enumerate(zip(row.first, row.last + 1, strict=True)):
        if b - a > 1:
            usual[number] = median(np.abs(np.diff(row.line[a:b]))) / median(row.height[a:b])
    step = np.abs(row.line[spans.left] - row.line[spans.right])
    return usual[row.board[spans.left]] + step / np.minimum(row.height[spans.left], row.height[spans.right])


def _free_part(
    boxes: Numbers, box: Numbers, left: Indices, right: Indices
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Widest part of each gap that no box stands in, and (m,) bool: a back row fills the whole gap."""
    height = box[:, 3] - box[:, 1]
    tall = np.minimum(boxes[None, :, 3], box[:, None, 3]) - np.maximum(boxes[None, :, 1], box[:, None, 1])
    wide = np.minimum(boxes[None, :, 2], box[:, None, 2]) - np.maximum(boxes[None, :, 0], box[:, None, 0])
    blocks = (tall > HINDRANCE * height[:, None]) & (wide > 0)
    gap = np.arange(len(box))
    blocks[gap, left] = blocks[gap, right] = False
    free, back_row = box.copy(), np.zeros(len(box), np.bool_)
    for k in np.flatnonzero(blocks.any(axis=1)):
        inside = boxes[blocks[k]]
        x1, x2 = _widest_hole(box[k, 0], box[k, 2], inside)
        lifted = box[k, 3] - inside[:, 3] > LIFTED * (inside[:, 3] - inside[:, 1])
        back_row[k] = lifted.all() and x2 - x1 < (1 - MOSTLY) * (box[k, 2] - box[k, 0])
        if not back_row[k]:
            free[k, [0, 2]] = x1, x2
    return free, back_row


def _widest_hole(x1: float, x2: float, boxes: Numbers) -> tuple[float, float]:
    """Ends of the widest stretch of x1..x2 that none of the boxes (n, 4) covers."""
    order = np.argsort(boxes[:, 0])
    starts = np.append(boxes[order, 0], x2)
    ends = np.maximum.accumulate(np.append(x1, boxes[order, 2]))
    widest = int(np.argmax(starts - ends))
    return float(ends[widest]), float(max(starts[widest], ends[widest]))


def _at_posts(gaps: Gaps, tiers: Tiers) -> NDArray[np.bool_]:
    """(m,) bool: gaps of many boards in one column, as where a post or a door frame hides products."""
    y = (gaps.box[:, 1] + gaps.box[:, 3]) / 2
    u1, u2 = tiers.level.column(gaps.box[:, 0], y), tiers.level.column(gaps.box[:, 2], y)
    shared = np.minimum(u2[:, None], u2[None, :]) - np.maximum(u1[:, None], u1[None, :])
    in_column = shared > COLUMN * ((u2 - u1)[:, None] + (u2 - u1)[None, :] - shared)
    narrow = gaps.room < POST_ROOM
    on_board = gaps.board[:, None] == np.arange(len(tiers.row))
    boards = ((in_column & narrow).astype(np.float32) @ on_board.astype(np.float32) > 0).sum(axis=1)
    return narrow & (boards >= POST_BOARDS)


def _blank(boxes: Numbers, tiers: Tiers, box: Numbers, board: Indices) -> Numbers:
    """(m,) share of the other boards, plus one, that have no product in line with the core of each gap."""
    y = (boxes[:, 1] + boxes[:, 3]) / 2
    u1, u2 = tiers.level.column(boxes[:, 0], y), tiers.level.column(boxes[:, 2], y)
    middle = tiers.level.column((box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2)
    stands = np.flatnonzero(tiers.board >= 0)
    core = CORE * (box[:, 2] - box[:, 0]) / 2
    covers = (u1[None, stands] < (middle + core)[:, None]) & ((middle - core)[:, None] < u2[None, stands])
    on_board = tiers.board[stands, None] == np.arange(len(tiers.row))
    filled = covers.astype(np.float32) @ on_board.astype(np.float32) > 0
    start, end = np.full(len(tiers.row), np.inf), np.full(len(tiers.row), -np.inf)
    np.minimum.at(start, tiers.board[stands], u1[stands])
    np.maximum.at(end, tiers.board[stands], u2[stands])
    passes = (start[None, :] < middle[:, None]) & (middle[:, None] < end[None, :])
    passes[np.arange(len(box)), board] = False
    return (passes & ~filled).sum(axis=1) / (passes.sum(axis=1) + 1)

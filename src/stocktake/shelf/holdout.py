"""Known voids without labelling: take products out of the annotations and see whether they are missed.

`remove_runs` takes out a few runs of neighbouring products with all that stands on them. Scoring is paired: a
photo has gaps of its own, so what was already found on the untouched photo counts neither for nor against.
Nothing here uses the void finder's own tiers, so that it does not examine itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stocktake.boxes import FloatArray, box_area, intersection_matrix, iou_matrix, union_box
from stocktake.shelf.void_scoring import VoidSet

Finder = Callable[[FloatArray], VoidSet]
SAME_BOARD = 0.35  # bottoms of neighbours differ by less, in heights of the lower of the two
ON_TOP = 0.15  # a bottom this close to a top, in heights of the lower of the two, stands on it for sure
CLEAR = 0.35  # a bottom farther than this from any top stands on the board for sure
SAME_ALARM = 0.5  # IoU over which two found voids are one


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Annotations with products taken out: `kept` (n,) bool over the boxes, and the `truth` made so."""

    kept: NDArray[np.bool_]
    truth: VoidSet


def remove_runs(
    boxes: FloatArray,
    rng: np.random.Generator,
    runs: int = 4,
    longest: int = 3,
    stacked: bool = True,
    ends: bool = False,
) -> HoldOut:
    """Take up to `runs` runs of 1..`longest` neighbouring products out of boxes (n, 4), with what is on them.

    Two runs never touch. With `ends` a run may be the last of its board, where only other boards can tell
    that something is missing. A known void spans the products sideways; upwards it reaches to the top of the
    stacks, or of the products on the board if not `stacked`. Runs that other boxes hide by a quarter stay.
    """
    kept = np.ones(len(boxes), np.bool_)
    below = _below(boxes, ON_TOP)
    untouchable = _below(boxes, CLEAR) >= 0
    right = _right_neighbour(boxes, ~untouchable)
    truth: list[FloatArray] = []
    facings: list[int] = []
    for start in rng.permutation(len(boxes)):
        if len(truth) == runs:
            break
        run = _run(int(start), right, int(rng.integers(1, longest + 1)))
        beside = [*right[run[-1:]], *np.flatnonzero(right == run[0])[:1]]
        if untouchable[run].any() or not (ends or (len(beside) == 2 and min(beside) >= 0)):
            continue
        column = _column(run, below)
        box = union_box(boxes[run])
        if stacked:
            box[1] = boxes[column, 1].min()
        hidden = intersection_matrix(box[None], np.delete(boxes, column, axis=0)).sum() / box_area(box[None])
        if hidden > 0.25:
            continue
        kept[column] = False
        untouchable[[*run, *(i for i in beside if i >= 0)]] = True
        truth.append(box)
        facings.append(len(run))
    known = VoidSet.of_boxes(np.array(truth))
    return HoldOut(kept, VoidSet(known.boxes, np.array(facings, np.int64), known.confidence, known.ignored))


def paired(found: VoidSet, before: VoidSet) -> VoidSet:
    """`found` without the voids that were there `before` anything was removed."""
    if not len(before) or not len(found):
        return found
    return found.pick(iou_matrix(found.boxes, before.boxes).max(axis=1) <= SAME_ALARM)


def hold_out(
    boxes: FloatArray, find: Finder, rng: np.random.Generator, longest: int = 3, ends: bool = False
) -> tuple[VoidSet, VoidSet]:
    """Found and known voids of one photo with products taken out of its boxes (n, 4), for `score_voids`.

    `find` gives the voids among boxes (k, 4); it runs on the untouched boxes and on what is left of them.
    `longest` and `ends` are those of `remove_runs`.
    """
    held = remove_runs(boxes, rng, longest=longest, ends=ends)
    return paired(find(boxes[held.kept]), find(boxes)), held.truth


def drop_boxes(count: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(count,) bool, True = kept: loses `share` (0..1) of the boxes at random, as a detector would."""
    kept = np.ones(count, np.bool_)
    kept[rng.permutation(count)[: round(share * count)]] = False
    return kept


def false_alarms(boxes: FloatArray, find: Finder, share: float, rng: np.random.Generator) -> VoidSet:
    """Voids found only because `share` (0..1) of the boxes (n, 4) went missing from the same photo."""
    return paired(find(boxes[drop_boxes(len(boxes), share, rng)]), find(boxes))


def tilt_boxes(boxes: FloatArray, width: float, height: float, degrees: float) -> FloatArray:
    """Boxes (n, 4) after turning the photo of `width` x `height` px about its middle, clockwise.

    A box stays upright around its product: its base turns, its size stays, as when a detector sees the photo.
    """
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width, height]) / 2
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 - middle) @ turn.T + middle
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _gaps(boxes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(n, n) each: free space to the right of i up to j, shared width of both, lower height of both."""
    height = boxes[:, 3] - boxes[:, 1]
    free = boxes[None, :, 0] - boxes[:, None, 2]
    shared = np.minimum(boxes[:, None, 2], boxes[None, :, 2]) - np.maximum(
        boxes[:, None, 0], boxes[None, :, 0]
    )
    return free, shared, np.minimum(height[:, None], height[None, :])


def _below(boxes: FloatArray, nearer: float) -> NDArray[np.int64]:
    """(n,) index of the box whose top is under each box, `nearer` than so many heights, -1 = none."""
    _, shared, low = _gaps(boxes)
    width = boxes[:, 2] - boxes[:, 0]
    drop = np.abs(boxes[None, :, 1] - boxes[:, None, 3]) / low
    on_top = (shared > 0.5 * np.minimum(width[:, None], width[None, :])) & (drop < nearer)
    on_top &= boxes[:, None, 3] < boxes[None, :, 3]
    drop = np.where(on_top, drop, np.inf)
    return np.where(on_top.any(axis=1), drop.argmin(axis=1), -1) if len(boxes) else np.zeros(0, np.int64)


def _right_neighbour(boxes: FloatArray, standing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) index of the next standing box on the same board within one width, -1 = none."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    free, _, low = _gaps(boxes)
    width = boxes[:, 2] - boxes[:, 0]
    level = np.abs(boxes[None, :, 3] - boxes[:, None, 3]) < SAME_BOARD * low
    near = (
        level
        & (free > -0.3 * width[:, None])
        & (free < width[:, None])
        & standing[None, :]
        & standing[:, None]
    )
    np.fill_diagonal(near, False)
    return np.where(near.any(axis=1), np.where(near, free, np.inf).argmin(axis=1), -1)


def _run(start: int, right: NDArray[np.int64], length: int) -> list[int]:
    run = [start]
    while len(run) < length and right[run[-1]] >= 0:
        run.append(int(right[run[-1]]))
    return run


def _column(run: list[int], below: NDArray[np.int64]) -> NDArray[np.int64]:
    """All boxes of a run and of the stacks on it."""
    inside = np.zeros(len(below), np.bool_)
    inside[run] = True
    while (grown := inside | (inside[below] & (below >= 0))).sum() > inside.sum():
        inside = grown
    return np.flatnonzero(inside)

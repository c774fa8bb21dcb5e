"""How good found voids are, against known ones.

One found void may answer one known void: found voids take their turn by confidence, each takes the free known
void that it overlaps most. Because a lower threshold only adds turns at the end, one pass gives the scores at
every threshold. Voids of kind ``low_stock``, found or known, count neither for nor against.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stocktake.boxes import FloatArray, as_boxes, as_scores, box_area, intersection_matrix, iou_matrix
from stocktake.errors import DataError
from stocktake.void_kinds import LOW_STOCK

COVERED = 0.5  # share of a missing facing's area that one found void covers when it counts as seen


class _VoidLike(Protocol):
    @property
    def box(self) -> tuple[float, float, float, float]: ...
    @property
    def facings(self) -> int: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class VoidSet:
    """The m voids of one photo as arrays.

    `boxes` (m, 4) float32 xyxy px, `facings` (m,) int64, `confidence` (m,) float32, `ignored` (m,) bool:
    counts neither for nor against.
    """

    boxes: FloatArray
    facings: NDArray[np.int64]
    confidence: FloatArray
    ignored: NDArray[np.bool_]

    @classmethod
    def of(cls, voids: Iterable[_VoidLike]) -> "VoidSet":
        """From `Void` or `TruthVoid` objects; known voids get confidence 1."""
        voids = list(voids)
        return cls(
            as_boxes([v.box for v in voids], "voids"),
            np.array([v.facings for v in voids], np.int64),
            np.array([getattr(v, "confidence", 1.0) for v in voids], np.float32),
            np.array([v.kind == LOW_STOCK for v in voids], np.bool_),
        )

    @classmethod
    def of_boxes(cls, boxes: ArrayLike, confidence: ArrayLike | None = None) -> "VoidSet":
        """From boxes (m, 4) alone, one facing each, confidence 1 if none is given."""
        boxes = as_boxes(boxes, "voids")
        ones = np.ones(len(boxes))
        scores = as_scores(ones if confidence is None else confidence, len(boxes), "confidence")
        return cls(boxes, ones.astype(np.int64), scores, np.zeros(len(boxes), np.bool_))

    def __len__(self) -> int:
        return len(self.boxes)

    def pick(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> "VoidSet":
        """The voids at `index`."""
        return VoidSet(self.boxes[index], self.facings[index], self.confidence[index], self.ignored[index])

    def join(self, other: "VoidSet") -> "VoidSet":
        """These voids and then the `other` ones."""
        return VoidSet(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))


@dataclass(frozen=True, slots=True)
class VoidScore:
    """Scores over `photos` photos with `known` known voids, of which `hits` were among the `found` ones.

    `precision`, `recall`, `f1`, `facing_recall` (share of missing facings that found voids cover, however
    they are merged or split) are 0..1; without found or known voids the ratio is 0. `facing_error`: mean
    absolute error of the number of facings over the hits, NaN without hits. `false_per_photo`: found without
    a known one.
    """

    photos: int
    known: int
    found: int
    hits: int
    precision: float
    recall: float
    f1: float
    facing_recall: float
    facing_error: float
    false_per_photo: float


@dataclass(frozen=True, slots=True)
class VoidCurve:
    """Scores at every threshold, (k,) float64 each, confidence falling.

    Reporting the voids with at least `confidence[i]` gives `precision[i]`, `recall[i]` and `f1[i]`.
    """

    confidence: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def match_voids(found: VoidSet, truth: VoidSet, iou: float = 0.3) -> NDArray[np.int64]:
    """(len(found),) index of the known void that each found one takes, -1 for false, -2 for not counted.

    Not counted are ignored found voids and those whose best overlap is an ignored known void.
    """
    overlap = iou_matrix(found.boxes, truth.boxes)
    free = ~truth.ignored
    match = np.full(len(found), -1, np.int64)
    for k in np.argsort(-found.confidence, kind="stable"):
        if found.ignored[k]:
            match[k] = -2
            continue
        best = int(np.argmax(np.where(free, overlap[k], -1))) if len(truth) else -1
        if best >= 0 and free[best] and overlap[k, best] >= iou:
            match[k] = best
            free[best] = False
        elif (overlap[k][truth.ignored] >= iou).any():
            match[k] = -2
    return match


def score_voids(found: Sequence[VoidSet], truth: Sequence[VoidSet], iou: float = 0.3) -> VoidScore:
    """Score the found against the known voids, photo by photo in the same order, at overlap `iou` (0..1]."""
    _check_pairs(found, truth)
    hits = counted = known = seen = missing = 0
    errors: list[int] = []
    for mine, real in zip(found, truth, strict=True):
        match = match_voids(mine, real, iou)
        hit = match >= 0
        hits += int(hit.sum())
        counted += int((match > -2).sum())
        known += int((~real.ignored).sum())
        errors += np.abs(mine.facings[hit] - real.facings[match[hit]]).tolist()
        covered, facings = _covered_facings(mine, real)
        seen, missing = seen + covered, missing + facings
    return VoidScore(
        photos=len(found),
        known=known,
        found=counted,
        hits=hits,
        precision=_ratio(hits, counted),
        recall=_ratio(hits, known),
        f1=_ratio(2 * hits, counted + known),
        facing_recall=_ratio(seen, missing),
        facing_error=float(np.mean(errors)) if errors else float("nan"),
        false_per_photo=_ratio(counted - hits, len(found)),
    )


def void_curve(found: Sequence[VoidSet], truth: Sequence[VoidSet], iou: float = 0.3) -> VoidCurve:
    """Precision, recall and F1 at every confidence that occurs among the found voids."""
    _check_pairs(found, truth)
    matches = [match_voids(mine, real, iou) for mine, real in zip(found, truth, strict=True)]
    match = np.concatenate([np.zeros(0, np.int64), *matches])
    confidence = np.concatenate([np.zeros(0, np.float64), *(mine.confidence for mine in found)])
    known = sum(int((~real.ignored).sum()) for real in truth)
    counted = match > -2
    order = np.argsort(-confidence[counted], kind="stable")
    confidence, hits = confidence[counted][order], np.cumsum(match[counted][order] >= 0)
    total = np.arange(1, len(order) + 1)
    last = np.append(confidence[1:] != confidence[:-1], True)[: len(order)]  # equal confidences come together
    precision, recall = hits / total, hits / max(known, 1)
    return VoidCurve(confidence[last], precision[last], recall[last], (2 * hits / (total + known))[last])


def best_confidence(found: Sequence[VoidSet], truth: Sequence[VoidSet], iou: float = 0.3) -> float:
    """Confidence threshold with the best F1, the highest of equals; 1.0 where nothing was found."""
    curve = void_curve(found, truth, iou)
    return float(curve.confidence[int(np.argmax(curve.f1))]) if len(curve.f1) else 1.0


def above(found: Sequence[VoidSet], confidence: float) -> list[VoidSet]:
    """The found voids with at least this confidence."""
    return [mine.pick(mine.confidence >= confidence) for mine in found]


def _covered_facings(found: VoidSet, truth: VoidSet) -> tuple[int, int]:
    """How many facings of the known voids the found ones cover, and how many there are."""
    real, mine = truth.pick(~truth.ignored), found.pick(~found.ignored)
    facings = np.maximum(real.facings, 1)
    slot = np.concatenate([np.zeros((0, 4), np.float32), *map(_slots, real.boxes, facings)])
    shared = intersection_matrix(slot.astype(np.float32), mine.boxes).sum(axis=1)
    return int((shared >= COVERED * box_area(slot)).sum()), int(facings.sum())


def _slots(box: FloatArray, count: int) -> FloatArray:
    """(count, 4) `box` cut into upright strips of one width."""
    x = np.linspace(box[0], box[2], count + 1)
    y1, y2 = np.full(count, box[1]), np.full(count, box[3])
    return np.stack([x[:-1], y1, x[1:], y2], axis=1)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _check_pairs(found: Sequence[VoidSet], truth: Sequence[VoidSet]) -> None:
    if len(found) != len(truth):
        raise DataError(
            f"voids: found ones of {len(found)} photos, known ones of {len(truth)}; give both per photo"
        )

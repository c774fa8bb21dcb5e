"""The photos of an evaluation report: the best, a typical one and the worst, with found and known voids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.images import Pixels
from stocktake.photo_pass import decode_known, whole_pixels
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.drawing import draw_report
from stocktake.shelf.examination import Examined, Sight
from stocktake.shelf.void_scoring import VoidScore, VoidSet, score_voids
from stocktake.shelf.void_trials import OURS, PIXELS, void_truth

KNOWN = (40, 130, 255)  # RGB
LONG_SIDE = 1280  # px


@dataclass(frozen=True, slots=True)
class Example:
    """An annotated photo, (H, W, 3) uint8 RGB; `rank`: best, typical or worst; `caption`: what to see."""

    rank: str
    photo: Pixels
    caption: str


def draw_examples(
    index: DatasetIndex, detector: ShelfDetector, examined: Sequence[Examined]
) -> list[Example]:
    """The best, the middle and the worst photo by void F1 from pixels, or by product F1 without known voids.

    Fewer where there are fewer photos. Of equally good or bad photos, that with most known voids is taken.
    """
    threshold = detector.card.score_threshold
    ranked = sorted(((_judge(one, threshold), one) for one in examined), key=lambda pair: _order(pair[0]))
    picks = {"best": len(ranked) - 1, "typical": len(ranked) // 2, "worst": 0}
    chosen: dict[int, str] = {}
    for rank, place in picks.items():
        chosen.setdefault(place, rank)
    return [_draw(index, detector, *ranked[place], rank) for place, rank in chosen.items()]


def _judge(one: Examined, threshold: float) -> VoidScore:
    for trial in one.trials:
        if (trial.scene, trial.method) == (PIXELS, OURS):
            return score_voids([trial.found], [trial.truth])
    boxes, scores = one.found[OURS]
    sure = scores >= threshold
    found = VoidSet.of_boxes(boxes[sure], scores[sure])
    return score_voids([found], [VoidSet.of_boxes(one.photo.boxes)], 0.5)


def _order(score: VoidScore) -> tuple[float, int]:
    """From bad to good; nothing found where nothing was missing is neither, so it is put in the middle."""
    if not score.known and not score.found:
        return 0.5, 0
    return score.f1, score.known if score.f1 >= 0.5 else -score.known


def _draw(
    index: DatasetIndex, detector: ShelfDetector, score: VoidScore, one: Examined, rank: str
) -> Example:
    data = read_photo_bytes(index, one.photo)
    sight = Sight.of(detector, decode_known(one.photo, data, detector.decode))
    report = detector.interpret(sight.proposals, sight.decoded)
    canvas = draw_report(whole_pixels(one.photo, data), report)
    truth = void_truth(one.photo)
    what = "products" if truth is None else "voids"
    if truth is not None:
        _outline(canvas, truth.pick(~truth.ignored).boxes)
    false = score.found - score.hits
    caption = f"{rank}: {one.photo.name}, {score.hits} of {score.known} {what} found, {false} false"
    scale = LONG_SIDE / max(canvas.shape[:2])
    if scale < 1:
        canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Example(rank, canvas, caption[0].upper() + caption[1:])


def _outline(canvas: Pixels, boxes: np.ndarray) -> None:
    """Frames around known voids, a little outside, so that a found one at the same place can be seen too."""
    width = max(2, round(max(canvas.shape[:2]) / 350))
    for x1, y1, x2, y2 in np.rint(boxes).astype(int).tolist():
        cv2.rectangle(canvas, (x1 - width, y1 - width), (x2 + width, y2 + width), KNOWN, width)

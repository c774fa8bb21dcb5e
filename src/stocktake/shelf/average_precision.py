"""Average precision and recall of product boxes, by the rules of COCO with up to 300 boxes per photo.

SKU-110K's own protocol: one class, IoU .50:.05:.95, all sizes, 300 detections per photo (Goldman et al.,
"Precise Detection in Densely Packed Scenes", CVPR 2019). COCO's default of 100 would cap recall, since a
shelf photo has 147 products on average.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stocktake.boxes import as_boxes, as_scores
from stocktake.errors import DataError

MAX_DETECTIONS = (1, 10, 300)
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_STEPS = np.linspace(0, 1, 101)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionScores:
    """How well boxes were found, over a set of photos. All scores are 0..1."""

    ap: float  # mean over IoU .50:.05:.95
    ap50: float
    ap75: float
    ar300: float  # recall at 300 boxes per photo, mean over IoU .50:.05:.95
    precision50: np.ndarray  # (101,) interpolated precision at IoU .5, at recall RECALL_STEPS
    precision75: np.ndarray  # (101,) the same at IoU .75
    scores: np.ndarray  # (n,) float64 of all detections, best first
    hits: np.ndarray  # (n,) bool: the detection is a product at IoU .5
    products: int
    photos: int

    def metrics(self) -> dict[str, float]:
        """The four scores by name."""
        return {"ap": self.ap, "ap50": self.ap50, "ap75": self.ap75, "ar300": self.ar300}

    def over_threshold(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and F1 at IoU .5 of detections with scores from `thresholds` (t,) up; each (t,).

        Precision is 1 where nothing was detected.
        """
        count = np.searchsorted(-self.scores, -np.asarray(thresholds, np.float64), side="right")
        found = np.concatenate([[0], np.cumsum(self.hits)])[count]
        precision = np.where(count > 0, found / np.maximum(count, 1), 1.0)
        return precision, found / self.products, 2 * found / (count + self.products)

    def best_threshold(self) -> tuple[float, float]:
        """The score threshold with the highest F1 at IoU .5, and that F1; the lowest where several tie."""
        thresholds = np.arange(1, 100) / 100
        f1 = self.over_threshold(thresholds)[2]
        best = int(np.argmax(f1))
        return float(thresholds[best]), float(f1[best])


def score_detections(
    truth: Sequence[np.ndarray], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> DetectionScores:
    """Score detections against the true boxes, photo by photo.

    Args:
        truth: per photo, (n, 4) xyxy px.
        found: per photo, boxes (m, 4) xyxy px and scores (m,); the best 300 of a photo count.

    Raises:
        DataError: the lists differ in length, or there is no true box at all.
    """
    if len(truth) != len(found):
        raise DataError(
            f"{len(truth)} photos have true boxes and {len(found)} have detections; give both for each"
        )
    found = [_best(as_boxes(boxes), as_scores(scores, len(boxes))) for boxes, scores in found]
    products = sum(map(len, truth))
    if not products:
        raise DataError(
            f"none of the {len(truth)} photos has a product box; there is nothing to score against"
        )
    overall, at_half = _match(truth, found)
    precision = overall["precision"][:, :, 0, 0, -1]  # (IoU, recall) of the one class, all sizes, 300 boxes
    scores, hits = _rank(found, at_half["matched"])
    return DetectionScores(
        ap=float(precision.mean()),
        ap50=float(precision[0].mean()),
        ap75=float(precision[5].mean()),
        ar300=float(overall["recall"][:, 0, 0, -1].mean()),
        precision50=precision[0],
        precision75=precision[5],
        scores=scores,
        hits=hits,
        products=products,
        photos=len(truth),
    )


def _match(
    truth: Sequence[np.ndarray], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[dict[str, Any]]:
    """The evaluator's answer over all IoU thresholds, then over .5 alone, since it pools its matches."""
    from faster_coco_eval import COCO, COCOeval_faster

    expected = COCO(
        _coco_dataset([(boxes, np.ones(len(boxes))) for boxes in truth]), print_function=_log.debug
    )
    detected = COCO(_coco_dataset(found), print_function=_log.debug)
    answers = []
    for thresholds in (IOU_THRESHOLDS, IOU_THRESHOLDS[:1]):
        evaluation = COCOeval_faster(expected, detected, "bbox", print_function=_log.debug)
        evaluation.params.iouThrs, evaluation.params.recThrs = thresholds, RECALL_STEPS
        evaluation.params.maxDets = list(MAX_DETECTIONS)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
        answers.append(evaluation.eval)
    return answers


def _coco_dataset(photos: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[dict[str, object]]]:
    """COCO's JSON with one annotation per box; ids count from 1, since matchers take 0 for "no match"."""
    annotations: list[dict[str, object]] = []
    for photo, (boxes, scores) in enumerate(photos):
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        xywh = np.concatenate([boxes[:, :2], sides], axis=1).tolist()
        for box, area, score in zip(xywh, sides.prod(axis=1).tolist(), scores, strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": photo, "category_id": 1, "bbox": box, "area": area}
                | {"score": float(score), "iscrowd": 0}
            )
    images: list[dict[str, object]] = [{"id": photo} for photo in range(len(photos))]
    return {"images": images, "categories": [{"id": 1, "name": "product"}], "annotations": annotations}


def _best(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 300 detections of a photo that count."""
    order = np.argsort(-scores, kind="stable")[: MAX_DETECTIONS[-1]]
    return boxes[order], scores[order]


def _rank(
    found: Sequence[tuple[np.ndarray, np.ndarray]], matched: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """All scores, best first, and whether each was matched ("<detection id>_<truth id>" -> IoU)."""
    scores = np.concatenate([np.zeros(0), *(np.asarray(scores, np.float64) for _, scores in found)])
    hits = np.zeros(len(scores), bool)
    hits[[int(pair.split("_")[0]) - 1 for pair in matched]] = True
    order = np.argsort(-scores, kind="stable")
    return scores[order], hits[order]

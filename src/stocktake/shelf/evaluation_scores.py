"""From what was found on each photo to the figures of an evaluation.

Metric names are flat and safe for MLflow: '<who>/<scene>/<score>', where the model under evaluation has no
<who>: 'detector/ap50', 'champion/detector/ap50', 'voids/f1_iou30', 'sliding_box/voids_holdout/f1_iou30'. In
another precision than fp32 it is 'int8/ap50' and 'int8/void_f1'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stocktake.precision_report import PrecisionScores
from stocktake.shelf.average_precision import DetectionScores
from stocktake.shelf.recalibration import Recalibration
from stocktake.shelf.void_scoring import VoidCurve, VoidScore, match_voids, score_voids, void_curve
from stocktake.shelf.void_trials import ANY_CONFIDENCE, MISSING, OURS, SCENES, Trial

PER_IOU = ("precision", "recall", "f1")
FACINGS = ("facing_recall", "facing_error", "false_per_photo")


@dataclass(frozen=True, slots=True)
class SceneScore:
    """One method's scores in one scene, at IoU .3 and .5."""

    iou30: VoidScore
    iou50: VoidScore

    def metrics(self) -> dict[str, float]:
        """The scores by name; what has no value (no hit to count the facings of) is left out."""
        scores = {f"{name}_iou30": getattr(self.iou30, name) for name in PER_IOU}
        scores |= {f"{name}_iou50": getattr(self.iou50, name) for name in PER_IOU}
        scores |= {name: getattr(self.iou30, name) for name in FACINGS}
        return {name: value for name, value in scores.items() if math.isfinite(value)}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What we said of voids from pixels, `confidence` (n,) in 0..1, and which were real, `hit` (n,) bool."""

    curve: VoidCurve
    confidence: np.ndarray
    hit: np.ndarray


@dataclass(frozen=True, slots=True)
class Scores:
    """All figures: detectors by name, then scenes by method; both begin with the model under evaluation."""

    detectors: dict[str, DetectionScores]
    scenes: dict[str, dict[str, SceneScore]]
    calibration: Calibration | None  # None without known or found voids
    score_threshold: float
    min_confidence: float
    precisions: PrecisionScores
    recalibration: Recalibration | None = None  # None without feedback

    def metrics(self) -> dict[str, float]:
        """One flat mapping of finite floats, for metrics.json, MLflow and the gate."""
        flat: dict[str, float] = {}
        for who, detector in self.detectors.items():
            flat |= _named(who, "detector", detector.metrics())
        ours = self.detectors[OURS]
        at_threshold = (float(line[0]) for line in ours.over_threshold(np.array([self.score_threshold])))
        flat |= _named(OURS, "detector", dict(zip(PER_IOU, at_threshold, strict=True)))
        for scene, methods in self.scenes.items():
            for who, score in methods.items():
                figures = score.metrics()
                if scene == MISSING:
                    figures = {"new_false_per_photo": figures["false_per_photo"]}
                flat |= _named(who, scene, figures)
        flat |= self.precisions.metrics()
        if self.recalibration:
            flat |= self.recalibration.metrics()
        return flat | {"data/photos": float(ours.photos), "data/products": float(ours.products)}


def score_scenes(trials: Iterable[Trial]) -> dict[str, dict[str, SceneScore]]:
    """Score trials by scene, in the order of SCENES, and by method."""
    grouped: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        grouped.setdefault(trial.scene, {}).setdefault(trial.method, []).append(trial)
    return {
        scene: {name: _score(some) for name, some in grouped[scene].items()}
        for scene in SCENES
        if scene in grouped
    }


def calibrate(trials: Iterable[Trial]) -> Calibration | None:
    """Our voids from pixels at every confidence; None where no voids are known or none are found."""
    mine = [trial for trial in trials if (trial.scene, trial.method) == (ANY_CONFIDENCE, OURS)]
    if not any(len(trial.found) for trial in mine):
        return None
    matches = np.concatenate([match_voids(trial.found, trial.truth) for trial in mine])
    confidence = np.concatenate([trial.found.confidence for trial in mine])
    counted = matches > -2
    curve = void_curve([trial.found for trial in mine], [trial.truth for trial in mine])
    return Calibration(curve, confidence[counted], matches[counted] >= 0)


def _score(trials: list[Trial]) -> SceneScore:
    found, truth = [trial.found for trial in trials], [trial.truth for trial in trials]
    return SceneScore(score_voids(found, truth, 0.3), score_voids(found, truth, 0.5))


def _named(who: str, scene: str, scores: Mapping[str, float]) -> dict[str, float]:
    prefix = "" if who == OURS else f"{who}/"
    return {f"{prefix}{scene}/{name}": float(value) for name, value in scores.items()}

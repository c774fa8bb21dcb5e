"""Void confidence that has learnt from people: weights near the library's, moved by judged voids.

The weights of the looks of a gap (energy, light, unlike), which are the texture check, move with the others.
Whether that helps is measured on bays that the weights have not seen, and nothing changes where it does not.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree

import numpy as np

from stocktake.feedback import read_feedback
from stocktake.model_card import ModelCard, write_sums
from stocktake.photo_pass import pass_workers
from stocktake.shelf.confidence import PHOTO_WEIGHTS
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.level import Numbers
from stocktake.shelf.thresholds import set_thresholds
from stocktake.shelf.void_labels import NAMES, VoidLabels, collect_labels

LEAST_LABELS = 40  # judged voids, below which figures are mostly chance
LEAST_EACH = 10  # of them that are voids, and that are none
FOLDS = 5
PULL = 1.0  # on the squared way of a weight from where it was: few labels must not move it far
STEPS = 50
SURE = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """How a confidence does on held-out judged voids: `precision` of those it shows, `recall` of real ones
    (0..1, 0 where there is nothing to divide by), and the mean `log_loss` of all.
    """

    precision: float
    recall: float
    log_loss: float
    shown: int


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What came of feedback. `weights` is empty where nothing was changed; `reason` says why, or why not.

    `labels` judged voids in `bays` bays, `voids` of them real; `left_out` others, by reason. `before` and
    `after` by cross-validation over bays, at `min_confidence`; None where there was too little to do it.
    """

    uri: str
    labels: int
    voids: int
    bays: int
    left_out: dict[str, int]
    min_confidence: float
    reason: str
    weights: dict[str, float] = field(default_factory=dict)
    before: Judged | None = None
    after: Judged | None = None

    def metrics(self) -> dict[str, float]:
        """Flat figures for metrics.json and MLflow."""
        flat = {"feedback/labels": float(self.labels), "feedback/recalibrated": float(bool(self.weights))}
        for name, judged in (("before", self.before), ("after", self.after)):
            if judged:
                flat |= {
                    f"feedback/{name}/{figure}": float(getattr(judged, figure))
                    for figure in ("precision", "recall", "log_loss")
                }
        return flat

    def rows(self) -> list[dict[str, object]]:
        """A row for each confidence that was tried."""
        return [
            {
                "confidence": name,
                "precision": judged.precision,
                "recall": judged.recall,
                "log loss": judged.log_loss,
                "shown": judged.shown,
                "judged": self.labels,
            }
            for name, judged in (("as it was", self.before), ("recalibrated, held-out bays", self.after))
            if judged
        ]

    def describe(self) -> str:
        """On what it rests, in one line."""
        out = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items()) or "none"
        return (
            f"{self.labels} judged voids ({self.voids} real) of {self.bays} bays; left out: {out}."
            f" {self.reason}"
        )


def recalibrate(model_dir: Path, out_dir: Path, feedback: str, index_path: Path) -> Recalibration | None:
    """Copy a model dir, with a void confidence that has learnt from feedback if that makes it better.

    Thresholds and precisions are then chosen again on the validation photos of `index_path`.

    Args:
        model_dir: a shelf detector's.
        out_dir: made; gets all files of it.
        feedback: URI of a feedback index; '' copies only.
        index_path: the prepared index.parquet.

    Returns:
        What was done and why; None without feedback.

    Raises:
        DataError, StoreError: the index of feedback cannot be read.
        ModelError: the model dir is damaged or not a shelf detector's.
    """
    copytree(model_dir, out_dir, dirs_exist_ok=True)
    if not feedback:
        return None
    detector = ShelfDetector.load(out_dir, precision="fp32", lanes=pass_workers())
    labels = collect_labels(detector, read_feedback(feedback))
    present = PHOTO_WEIGHTS | detector.void_settings.weights
    done = learn(labels, present, detector.void_settings.min_confidence, feedback)
    _log.info("feedback: %s", done.describe())
    if done.weights:
        card = ModelCard.read(out_dir)
        settings = {**card.void_settings, "weights": done.weights}
        card.model_copy(update={"void_settings": settings}).write(out_dir)
        write_sums(out_dir)
        set_thresholds(out_dir, index_path)
    return done


def learn(labels: VoidLabels, present: dict[str, float], min_confidence: float, uri: str) -> Recalibration:
    """Weights that labels move `present` ones to, if held-out bays say that they are better."""
    voids, bays = int(labels.is_void.sum()), len(set(labels.group.tolist()))
    facts = uri, len(labels), voids, bays, labels.left_out, min_confidence
    others = len(labels) - voids
    if len(labels) < LEAST_LABELS or min(voids, others) < LEAST_EACH or bays < FOLDS:
        return Recalibration(
            *facts,
            f"Too few: it takes {LEAST_LABELS} labels, {LEAST_EACH} of each kind, of {FOLDS} bays."
            " The confidence stays as it is.",
        )
    start = np.array([present[name] for name in NAMES])
    held = held_out(labels, start)
    present_said = _sigmoid(labels.features @ start)
    before, after = (_judge(said, labels.is_void, min_confidence) for said in (present_said, held))
    if not _is_better(held, present_said, labels):
        reason = "On held-out bays it is not surely better. The confidence stays as it is."
        return Recalibration(*facts, reason, before=before, after=after)
    fitted = fit(labels.features, labels.is_void, start)
    weights = {name: round(float(value), 4) for name, value in zip(NAMES, fitted, strict=True)}
    return Recalibration(*facts, "The confidence was recalibrated.", weights, before, after)


def held_out(labels: VoidLabels, start: Numbers) -> Numbers:
    """(n,) confidence of each label by weights that were fitted without its bay."""
    said = np.zeros(len(labels))
    for fold in folds(labels.group):
        inside = np.isin(labels.group, list(fold))
        weights = fit(labels.features[~inside], labels.is_void[~inside], start)
        said[inside] = _sigmoid(labels.features[inside] @ weights)
    return said


def folds(group: np.ndarray) -> list[set[str]]:
    """Groups in FOLDS parts of about as many labels: the largest first, each to the smallest part."""
    names, counts = np.unique(group, return_counts=True)
    parts: list[set[str]] = [set() for _ in range(FOLDS)]
    sizes = [0] * FOLDS
    for number in np.argsort(-counts, kind="stable"):
        smallest = sizes.index(min(sizes))
        parts[smallest].add(str(names[number]))
        sizes[smallest] += int(counts[number])
    return parts


def fit(features: Numbers, is_void: np.ndarray, start: Numbers) -> Numbers:
    """Logistic regression of `is_void` (n,) on `features` (n, k) whose weights are pulled to `start` (k,).

    Newton's method, with steps that are halved until they help; the loss has one minimum.
    """
    weights, loss = start.copy(), _loss(features, is_void, start, start)
    for _ in range(STEPS):
        said = _sigmoid(features @ weights)
        slope = features.T @ (said - is_void) + 2 * PULL * (weights - start)
        bend = (features.T * (said * (1 - said))) @ features + 2 * PULL * np.eye(len(start))
        step = np.linalg.solve(bend, slope)
        while np.abs(step).max() > 1e-7 and _loss(features, is_void, weights - step, start) > loss:
            step = step / 2
        if np.abs(step).max() <= 1e-7:
            break
        weights = weights - step
        loss = _loss(features, is_void, weights, start)
    return weights


def _loss(features: Numbers, is_void: np.ndarray, weights: Numbers, start: Numbers) -> float:
    score = features @ weights
    likely = np.logaddexp(0, score).sum() - score[is_void].sum()
    return float(likely + PULL * ((weights - start) ** 2).sum())


def _sigmoid(score: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-np.clip(score, -50, 50)))


def _is_better(ours: Numbers, theirs: Numbers, labels: VoidLabels) -> bool:
    """Whether the log loss falls by more than SURE standard errors, a bay being one observation."""
    gain = _log_loss(theirs, labels.is_void) - _log_loss(ours, labels.is_void)
    gains = np.array([gain[labels.group == bay].mean() for bay in np.unique(labels.group)])
    return bool(gains.mean() > SURE * gains.std(ddof=1) / np.sqrt(len(gains)))


def _log_loss(said: Numbers, is_void: np.ndarray) -> Numbers:
    right: Numbers = np.clip(np.where(is_void, said, 1 - said), 1e-9, 1)
    return -np.log(right)


def _judge(said: Numbers, is_void: np.ndarray, min_confidence: float) -> Judged:
    shown = said >= min_confidence
    hits = int((shown & is_void).sum())
    precision = hits / int(shown.sum()) if shown.any() else 0.0
    recall = hits / int(is_void.sum()) if is_void.any() else 0.0
    return Judged(precision, recall, float(_log_loss(said, is_void).mean()), int(shown.sum()))

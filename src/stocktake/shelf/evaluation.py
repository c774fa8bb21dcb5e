"""How good a model is: products and voids, next to what it has to beat, on photos that it has not seen.

Nothing is chosen here. Thresholds come from the model card; `thresholds.choose_thresholds` sets them on the
validation split.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.evaluation_files import (
    SEEN_BEFORE,
    EvaluationResult,
    common_facts,
    describe_exclusions,
    make_folder,
    photos_to_score,
    track_evaluation,
    write_evaluation,
)
from stocktake.photo_pass import each_photo, pass_workers
from stocktake.precision_gate import REFERENCE, Verdicts, judge, open_others
from stocktake.precision_report import PrecisionScores, verdict_rows
from stocktake.runner import Precision
from stocktake.shelf import evaluation_report
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.constant_detector import ConstantDetector
from stocktake.shelf.detector import CANDIDATE_THRESHOLD, ShelfDetector
from stocktake.shelf.evaluation_scores import Scores, calibrate, score_scenes
from stocktake.shelf.examination import Examined, Examiner
from stocktake.shelf.examples import draw_examples
from stocktake.shelf.precisions import figures_of
from stocktake.shelf.recalibration import Recalibration
from stocktake.shelf.void_trials import ANY_CONFIDENCE, OURS
from stocktake.void_kinds import LOW_STOCK

_log = logging.getLogger(__name__)


def evaluate(
    model_dir: Path,
    index_path: Path,
    out_dir: Path,
    split: str = "test",
    before: Path | None = None,
    champion: Path | None = None,
    learnt: Recalibration | None = None,
    tilt_photos: int = 200,
    workers: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> EvaluationResult:
    """Score a model dir on one split; write its figures and report to `out_dir`.

    That is metrics.json, facts.json, report.html, summary.md and photos/. Figures, tables, plots and photos
    also go to the open MLflow run, if there is one. They are of fp32, beside what is lost in each precision
    that the card allows. Figures of train or val photos come with a warning, and so does too much of a loss.

    Args:
        model_dir: the model under evaluation.
        index_path: index.parquet.
        out_dir: made if needed; files in it are replaced.
        split: train, val or test.
        before: model dir of the weights that training began with, scored alongside.
        champion: model dir of the present champion, scored alongside.
        learnt: what the model under evaluation has learnt from feedback, for the report.
        tilt_photos: how many photos, first by name, are also tried at an angle, which is half of the work.
        workers: threads; one per core, eight at most, when None.
        seed: of what is removed at random from annotations.
        progress: show a bar on a terminal.

    Raises:
        DataError: the split is empty or has no product, a photo is not what the index says, or `out_dir`
            can't be written.
        ModelError: a model dir is damaged or not a shelf detector's.
    """
    index = DatasetIndex.read(index_path)
    photos = _photos(index, split, index_path)
    if caveat := SEEN_BEFORE.get(split):
        _log.warning("split %s: %s", split, caveat)
    make_folder(out_dir)
    given = {OURS: model_dir, "before": before, "champion": champion}
    lanes = pass_workers(workers)
    detectors = {
        who: ShelfDetector.load(path, precision="fp32", lanes=lanes)
        for who, path in given.items()
        if path is not None
    }
    precise, refused = open_others(detectors[OURS], detectors[OURS].card.precisions)
    constant, fitted_on = _fit_constant(index, split)
    examiner = Examiner(index, detectors, precise, constant, seed)
    tilted = {photo.name for photo in photos[:tilt_photos]}
    examined = each_photo(
        lambda photo: examiner.examine(photo, photo.name in tilted), photos, workers, progress, "evaluate"
    )
    scores = _score(examined, detectors[OURS], list(precise), refused, learnt)
    for warning in scores.precisions.warnings():
        _log.warning(warning)
    facts = _facts(index, split, photos, detectors, len(tilted), fitted_on, learnt)
    examples = draw_examples(index, detectors[OURS], examined)
    title = f"Evaluation of {facts['Model']}"
    report = evaluation_report.build_report(title, facts, scores, examples).render()
    summary = evaluation_report.build_summary(title, facts, scores)
    pictures = {example.rank: example.photo for example in examples}
    facts["Left out"] = index.metadata.get("left_out", {})  # names: for facts.json, too many for a page
    result = write_evaluation(out_dir, scores.metrics(), facts, report, summary, pictures)
    tables = {
        "products": evaluation_report.detector_rows(scores),
        "voids": evaluation_report.void_rows(scores),
        "precisions": verdict_rows(scores.precisions.here),
    }
    track_evaluation(index, split, result, tables, evaluation_report.figures(scores), pictures)
    return result


def _photos(index: DatasetIndex, split: str, index_path: Path) -> list[Photo]:
    photos = photos_to_score(index, split, index_path)
    if not any(len(photo.boxes) for photo in photos):
        raise DataError(
            f"{index_path}: none of {len(photos)} photos in split {split} has a product box; ingest again"
        )
    return photos


def _fit_constant(index: DatasetIndex, split: str) -> tuple[ConstantDetector, str]:
    """Fitted on training photos if there are any; at worst on those it is tried on, which flatters it."""
    for name in ("train", "val", split):
        photos = index.split(name)
        if any(len(photo.boxes) for photo in photos):
            return ConstantDetector.fit(photos), name
    raise AssertionError("the split was checked to have boxes")


def _score(
    examined: Sequence[Examined],
    ours: ShelfDetector,
    precise: Sequence[Precision],
    refused: Verdicts,
    learnt: Recalibration | None,
) -> Scores:
    truth = [one.photo.boxes for one in examined]
    trials = list(chain.from_iterable(one.trials for one in examined))
    figures = {REFERENCE: _figures(examined, OURS), **{who: _figures(examined, who) for who in precise}}
    return Scores(
        detectors={
            who: score_detections(truth, [one.found[who] for one in examined])
            for who in examined[0].found
            if who not in precise
        },
        scenes=score_scenes(trials),
        calibration=calibrate(trials),
        score_threshold=ours.card.score_threshold,
        min_confidence=ours.void_settings.min_confidence,
        precisions=PrecisionScores(judge(figures, len(examined)) | refused, ours.card.precision_gate),
        recalibration=learnt,
    )


def _figures(examined: Sequence[Examined], who: str) -> dict[str, float]:
    """What is compared between precisions, of one detector."""
    voids = [
        (trial.found, trial.truth)
        for one in examined
        for trial in one.trials
        if (trial.scene, trial.method) == (ANY_CONFIDENCE, who)
    ]
    return figures_of([one.photo for one in examined], [one.found[who] for one in examined], voids)


def _facts(
    index: DatasetIndex,
    split: str,
    photos: Sequence[Photo],
    detectors: Mapping[str, ShelfDetector],
    tilted: int,
    fitted_on: str,
    learnt: Recalibration | None,
) -> dict[str, object]:
    """On what data, how many, which exclusions, which settings."""
    known = [photo.voids for photo in photos if photo.voids is not None]
    voids = sum(void.kind != LOW_STOCK for photo in known for void in photo)
    ours = detectors[OURS]
    card = ours.card
    return {
        **common_facts(
            index, split, photos, ours.card.name, {who: one.digest for who, one in detectors.items()}, OURS
        ),
        "Products": sum(len(photo.boxes) for photo in photos),
        "Known voids": f"{voids:,} in {len(known):,} photos" if known else "not known",
        "Exclusions": describe_exclusions(index),
        "Input size": f"{card.input_size} px",
        "Engine": f"{ours.runner.engine}, {ours.runner.device}, {ours.runner.precision}",
        "AP protocol": f"IoU .50:.05:.95, all sizes, 300 boxes per photo, scores from {CANDIDATE_THRESHOLD}",
        "NMS IoU": f"{card.iou_threshold:g}",
        "Products from score": f"{card.score_threshold:g}",
        "Boxes for voids from score": f"{card.void_score_threshold:g}",
        "Voids from confidence": f"{ours.void_settings.min_confidence:g}",
        **({"Feedback": learnt.describe()} if learnt else {}),
        "Tried at ±15°": f"{tilted:,} photos",
        "Constant boxes fitted on": f"{fitted_on} split",
    }

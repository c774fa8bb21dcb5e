"""How good a bin counter is, next to what it has to beat, on photos that it has not seen.

Nothing is chosen here. Thresholds come from the model card; `thresholds.set_thresholds` sets them on the
validation split.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stocktake.bins import evaluation_report
from stocktake.bins.blob_count import count_blobs
from stocktake.bins.counter import BinCounter
from stocktake.bins.evaluation_scores import OURS, Said, Truth, score, truth_of
from stocktake.bins.examples import pick_examples
from stocktake.bins.precisions import figures_of, infer_all
from stocktake.bootstrap import ROUNDS
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
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
from stocktake.photo_pass import each_photo, pass_workers, whole_pixels
from stocktake.precision_gate import REFERENCE, Verdicts, judge, open_others
from stocktake.precision_report import PrecisionScores, verdict_rows
from stocktake.runner import Precision

_log = logging.getLogger(__name__)


def evaluate(
    model_dir: Path,
    index_path: Path,
    out_dir: Path,
    split: str = "test",
    before: Path | None = None,
    champion: Path | None = None,
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
        index_path: a prepared index.parquet.
        out_dir: made if needed; files in it are replaced.
        split: train, val or test.
        before: model dir of the weights that training began with, scored alongside.
        champion: model dir of the present champion, scored alongside.
        workers: threads; one per core, eight at most, when None.
        seed: of the bootstrap.
        progress: show a bar on a terminal.

    Raises:
        DataError: the split is empty, a photo is not what the index says, its quantity is unknown or no class
            of the model, or `out_dir` can't be written.
        ModelError: a model dir is damaged or not a bin counter's.
    """
    index = DatasetIndex.read(index_path)
    photos = photos_to_score(index, split, index_path)
    if caveat := SEEN_BEFORE.get(split):
        _log.warning("split %s: %s", split, caveat)
    make_folder(out_dir)
    given = {OURS: model_dir, "before": before, "champion": champion}
    lanes = pass_workers(workers)
    counters = {
        who: BinCounter.load(path, precision="fp32", lanes=lanes)
        for who, path in given.items()
        if path is not None
    }
    ours = counters[OURS]
    truth = truth_of(photos, ours.classes, index_path)
    precise, refused = open_others(ours, ours.card.precisions)
    said, precisions = _count_all(index, photos, truth, counters, precise, workers, progress)
    baselines, fitted_on = _constant_counters(index, split, truth)
    scores = score(truth, {**said, **baselines}, ours.verification, seed)
    scores = replace(scores, precisions=PrecisionScores(precisions | refused, ours.card.precision_gate))
    for warning in scores.precisions.warnings():
        _log.warning(warning)
    examples = pick_examples(index, photos, truth, said[OURS])
    facts = _facts(index, split, photos, counters, fitted_on, seed)
    title = f"Evaluation of {ours.card.name}"
    report = evaluation_report.build_report(title, facts, scores, examples).render()
    summary = evaluation_report.build_summary(title, facts, scores)
    pictures = {example.rank: example.photo for example in examples}
    result = write_evaluation(out_dir, scores.metrics(), facts, report, summary, pictures)
    tables: dict[str, Sequence[Mapping[str, object]]] = {
        "counters": evaluation_report.counter_rows(scores),
        "classes": scores.classes,
        "calibration": scores.probabilities[OURS].calibration.rows(),
        "verdicts": evaluation_report.verdict_rows(scores),
        "verification": evaluation_report.rule_rows(scores),
        "precisions": verdict_rows(scores.precisions.here),
    }
    track_evaluation(index, split, result, tables, evaluation_report.figures(scores), pictures)
    return result


def _count_all(
    index: DatasetIndex,
    photos: Sequence[Photo],
    truth: Truth,
    counters: Mapping[str, BinCounter],
    precise: Mapping[Precision, BinCounter],
    workers: int | None,
    progress: bool,
) -> tuple[dict[str, Said], Verdicts]:
    """What the counters say, and the connected components; and how the model does in each precision."""
    everyone = {**counters, **{str(precision): counter for precision, counter in precise.items()}}

    def look(photo: Photo) -> tuple[dict[str, np.ndarray], int]:
        data = read_photo_bytes(index, photo)
        return infer_all(everyone, photo, data), count_blobs(whole_pixels(photo, data))

    seen = each_photo(look, photos, workers, progress, "evaluate")
    said = {}
    for who, counter in counters.items():
        classes, probabilities = np.array(counter.classes), np.stack([found[who] for found, _ in seen])
        counts = classes[probabilities.argmax(axis=1)]
        said[who] = Said(counts, _over_classes(probabilities, classes, truth.classes))
    said["blobs"] = Said(np.array([blobs for _, blobs in seen]))
    names: dict[Precision, str] = {REFERENCE: OURS, **{precision: precision for precision in precise}}
    figures = {
        precision: figures_of(np.stack([found[who] for found, _ in seen]), truth.index)
        for precision, who in names.items()
    }
    return said, judge(figures, len(photos))


def _over_classes(probabilities: np.ndarray, classes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Probabilities (n, J) of `classes` (J,) as (n, K) of the `wanted` ones, 0 for one that is not there."""
    return probabilities @ (classes[:, None] == wanted[None]).astype(probabilities.dtype)


def _constant_counters(index: DatasetIndex, split: str, truth: Truth) -> tuple[dict[str, Said], str]:
    """The counters that never look: the middle class, and the most frequent count.

    The latter is fitted on training photos if there are any, at worst on those it is tried on.
    """
    for name in ("train", "val", split):
        known = [photo.quantity for photo in index.split(name) if photo.quantity in truth.classes]
        if known:
            break
    place = np.searchsorted(truth.classes, np.array(known))
    share = np.bincount(place, minlength=len(truth.classes)) / len(known)
    shares = np.broadcast_to(share, (len(truth.counts), len(share)))
    middle = truth.classes[len(truth.classes) // 2]
    return {
        "constant": Said(np.full_like(truth.counts, middle)),
        "prior": Said(np.full_like(truth.counts, truth.classes[share.argmax()]), shares),
    }, name


def _facts(
    index: DatasetIndex,
    split: str,
    photos: Sequence[Photo],
    counters: Mapping[str, BinCounter],
    fitted_on: str,
    seed: int,
) -> dict[str, object]:
    """On what data, how many, which exclusions, which settings."""
    ours = counters[OURS]
    chosen = ours.verification
    return {
        **common_facts(
            index, split, photos, ours.card.name, {who: one.digest for who, one in counters.items()}, OURS
        ),
        "Groups": len({photo.group for photo in photos}),
        "Classes": ", ".join(map(str, ours.classes)),
        "Exclusions": describe_exclusions(index),
        "Input size": f"{ours.card.input_size} px",
        "Engine": f"{ours.runner.engine}, {ours.runner.device}, {ours.runner.precision}",
        "Count": "the most probable one",
        "Accepted above": f"{chosen.accept_above:.4f}, chosen for {chosen.error_rate:.0%} wrong accepts",
        "Rejected below": f"{chosen.reject_below:.4f}, chosen for {chosen.error_rate:.0%} wrong rejects",
        "Wrong records": "half off by one, half any other count",
        "Intervals": f"95%, {ROUNDS:,} resamples of groups, seed {seed}",
        "Most frequent count": f"of the {fitted_on} split",
    }

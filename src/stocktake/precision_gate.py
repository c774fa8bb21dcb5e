"""Which precisions a model may be served in: those that lose next to nothing on validation photos.

fp32 is what the others are compared with, on the same photos. The verdicts, with all scores, go into the
card; its `precisions` are those that are allowed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from stocktake import tracking
from stocktake.dataset import Photo
from stocktake.errors import ModelError
from stocktake.loaded_model import LoadedModel
from stocktake.model_card import ModelCard, PrecisionVerdict, write_sums
from stocktake.photo_pass import each_photo, pass_workers
from stocktake.runner import Precision
from stocktake.runtime import load_runner, precisions_here

LARGEST_LOSS = 0.005  # of any score, against fp32
REFERENCE: Precision = "fp32"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
WHY_REFERENCE = "what the others are compared with"
DIGITS = 1e-9  # of a loss, that floating point may add

_log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=LoadedModel)
Seen = TypeVar("Seen")
Figures = Mapping[str, float]
Verdicts = dict[Precision, PrecisionVerdict]


def open_others(
    base: Model, precisions: Sequence[Precision] = PRECISIONS
) -> tuple[dict[Precision, Model], Verdicts]:
    """A model in each precision but fp32 that this machine computes in; and the verdict on the rest.

    Args:
        base: the model, loaded in fp32; what its card allows does not matter.
        precisions: those that are asked for.
    """
    models: dict[Precision, Model] = {}
    refused: Verdicts = {}
    here = precisions_here()
    for precision in (each for each in precisions if each != REFERENCE):
        if precision not in here:
            reason = "not scored: the machine that scored the others does not compute in it"
            refused[precision] = PrecisionVerdict(allowed=False, reason=reason)
            continue
        try:
            runner = load_runner(base.model_dir, [precision], precision=precision, lanes=pass_workers())
            model = base.with_runner(runner)
            model.open_lanes()
        except ModelError as error:
            refused[precision] = PrecisionVerdict(allowed=False, reason=f"not scored: {error}")
        else:
            models[precision] = model
    return models, refused


def score_precisions(
    base: Model,
    photos: Sequence[Photo],
    look: Callable[[Photo, Mapping[Precision, Model]], Mapping[Precision, Seen]],
    figures_of: Callable[[Sequence[Seen]], Figures],
    workers: int | None = None,
    progress: bool = True,
) -> str:
    """Score a model in every precision that this machine has, and write to its card what may be served.

    Args:
        base: the model, loaded in fp32.
        photos: n of them.
        look: what is seen on a photo in each precision.
        figures_of: scores by name of what was seen in one precision on the n photos; higher is better.
        workers: threads; None takes one for each core.
        progress: show a bar.

    Returns:
        The new digest of the model dir.
    """
    others, refused = open_others(base)
    models: dict[Precision, Model] = {REFERENCE: base, **others}
    seen = each_photo(lambda photo: look(photo, models), photos, workers, progress, "score precisions")
    figures = {precision: figures_of([one[precision] for one in seen]) for precision in models}
    return write_verdicts(base.model_dir, judge(figures, len(photos)) | recall(refused, base.card))


def judge(figures: Mapping[Precision, Figures], photos: int) -> Verdicts:
    """A verdict on each precision: allowed where no score is more than `LARGEST_LOSS` below that of fp32.

    Args:
        figures: scores by name, the same for all, fp32 among them; higher is better.
        photos: that they were scored on.
    """
    return {
        precision: PrecisionVerdict(
            allowed=precision == REFERENCE or not _too_much(figures[REFERENCE], mine),
            reason=WHY_REFERENCE if precision == REFERENCE else _explain(figures[REFERENCE], mine),
            scores=dict(mine),
            photos=photos,
        )
        for precision, mine in figures.items()
    }


def forbid(lack: str) -> Verdicts:
    """fp32 alone, where there is too little of something to tell precisions apart."""
    return {
        precision: PrecisionVerdict(allowed=True, reason=WHY_REFERENCE)
        if precision == REFERENCE
        else PrecisionVerdict(allowed=False, reason=f"not scored, too few to tell: {lack}")
        for precision in PRECISIONS
    }


def recall(refused: Verdicts, card: ModelCard) -> Verdicts:
    """What could not be scored here, with the verdicts of a machine that could, if the card has them."""
    earlier = card.precision_gate
    return {
        precision: earlier[precision] if precision in earlier and earlier[precision].scores else verdict
        for precision, verdict in refused.items()
    }


def write_verdicts(model_dir: Path, verdicts: Verdicts) -> str:
    """Write verdicts to a card, tell the log and the open MLflow run of them. Returns the model's new digest.

    Raises:
        ModelError: the model dir has no card.
    """
    card = ModelCard.read(model_dir)
    ordered = {precision: verdicts[precision] for precision in PRECISIONS if precision in verdicts}
    allowed = [precision for precision, verdict in ordered.items() if verdict.allowed]
    card.model_copy(update={"precisions": allowed, "precision_gate": ordered}).write(model_dir)
    for precision, verdict in ordered.items():
        tell = _log.info if verdict.allowed or not verdict.scores else _log.warning
        tell("%s is %s: %s", precision, "allowed" if verdict.allowed else "forbidden", verdict.reason)
        tracking.log_metrics({f"val/{precision}/{name}": value for name, value in verdict.scores.items()})
    return write_sums(model_dir)


def _too_much(reference: Figures, mine: Figures) -> list[str]:
    """The scores that are lost by more than is allowed."""
    return [name for name, score in mine.items() if reference[name] - score > LARGEST_LOSS + DIGITS]


def _explain(reference: Figures, mine: Figures) -> str:
    changes = ", ".join(
        f"{name} {score:.4f} ({score - reference[name]:+.4f})" for name, score in mine.items()
    )
    bad = _too_much(reference, mine)
    if bad:
        return f"{changes}: more than {LARGEST_LOSS:g} of {' and '.join(bad)} is lost"
    return f"{changes}: within {LARGEST_LOSS:g} of fp32"

"""From what counters said about each photo to the figures of an evaluation.

Metric names are flat and safe for MLflow: '<who>/<what>/<score>', where the model under evaluation has no
<who>: 'count/accuracy', 'champion/count/rmse', 'probability/ece', 'verification/right_accepted'. In another
precision than fp32 it is 'int8/accuracy'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stocktake.bins.verification import (
    ERROR_RATE,
    AcceptCurve,
    VerificationSettings,
    accept_curve,
    argmax_curve,
    record_support,
    wrong_records,
)
from stocktake.bootstrap import Estimate, estimate, resampled_means
from stocktake.calibration import CalibrationBins, calibration_bins
from stocktake.dataset import Photo
from stocktake.errors import DataError
from stocktake.precision_report import PrecisionScores

OURS = "ours"
ECE_BINS = 15  # as in Guo et al.
SMALLEST = 1e-7  # a probability below counts as this in the log-likelihood, where 0 would be infinitely bad

Array = NDArray[np.floating]
Counts = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Truth:
    """The photos of a split: `counts` (n,) items as recorded, `group_of` (n,) 0..G-1; `classes` (K,)."""

    counts: Counts
    group_of: Counts
    classes: Counts

    @property
    def index(self) -> Counts:
        """(n,) the class of each photo."""
        return np.searchsorted(self.classes, self.counts)


@dataclass(frozen=True, slots=True)
class Said:
    """What one counter said: `counts` (n,), and `probabilities` (n, K) over the classes if it has any."""

    counts: Counts
    probabilities: Array | None = None


@dataclass(frozen=True, slots=True)
class CountScores:
    """How well one counter counts; `gain` is the accuracy of the model under evaluation less this one's."""

    accuracy: Estimate
    rmse: Estimate
    mae: Estimate
    within_one: Estimate
    gain: Estimate

    def metrics(self) -> dict[str, float]:
        """The scores by name, each with the ends of its interval."""
        flat: dict[str, float] = {}
        for name in ("accuracy", "rmse", "mae", "within_one"):
            score: Estimate = getattr(self, name)
            flat |= {f"count/{name}": score.value, f"count/{name}_low": score.low}
            flat |= {f"count/{name}_high": score.high}
        return flat


@dataclass(frozen=True, slots=True)
class ProbabilityScores:
    """How good one counter's probabilities are.

    `nll`: mean negative log-likelihood, nats. `calibration`: of the most probable count. `rmse_of_mean` and
    `mae_of_median`: errors if the rounded mean, or the median, were the count. `curve`: verification by
    `record_support`; `argmax`: by the most probable count.
    """

    nll: float
    calibration: CalibrationBins
    rmse_of_mean: float
    mae_of_median: float
    curve: AcceptCurve
    argmax: AcceptCurve

    def metrics(self) -> dict[str, float]:
        """The scores by name."""
        plain = float(self.argmax.wrong[-1])
        return {
            "probability/nll": self.nll,
            "probability/ece": self.calibration.ece,
            "count/rmse_of_mean": self.rmse_of_mean,
            "count/mae_of_median": self.mae_of_median,
            "verification/right_accepted_at_error": self.curve.right_at(ERROR_RATE),
            "verification/right_accepted_at_argmax_error": self.curve.right_at(plain),
            "argmax/right_accepted_at_error": self.argmax.right_at(ERROR_RATE),
            "argmax/right_accepted": float(self.argmax.right[-1]),
            "argmax/wrong_accepted": plain,
        }


@dataclass(frozen=True, slots=True)
class VerdictScores:
    """Shares of right and of wrong records that get each verdict at the card's thresholds."""

    right: Mapping[str, Estimate]
    wrong: Mapping[str, Estimate]

    def metrics(self) -> dict[str, float]:
        """The shares by name."""
        return {
            f"verification/{name}_{verdict}ed": share.value
            for name, shares in (("right", self.right), ("wrong", self.wrong))
            for verdict, share in shares.items()
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """All figures of an evaluation; counters by name, the model under evaluation first.

    `classes` has a row per count: photos, accuracy, RMSE, MAE, within one. `confusion` (K, K) has a row per
    true count and a column per counted one.
    """

    counters: dict[str, CountScores]
    probabilities: dict[str, ProbabilityScores]
    verdicts: VerdictScores
    classes: list[dict[str, float]]
    confusion: Counts
    photos: int
    groups: int
    precisions: PrecisionScores = field(default_factory=PrecisionScores)

    def metrics(self) -> dict[str, float]:
        """One flat mapping of finite floats, for metrics.json, MLflow and the gate."""
        flat: dict[str, float] = {}
        for scores in (self.counters, self.probabilities):
            for who, some in scores.items():
                prefix = "" if who == OURS else f"{who}/"
                flat |= {f"{prefix}{name}": float(value) for name, value in some.metrics().items()}
        flat |= self.verdicts.metrics()
        for row in self.classes:
            flat |= {
                f"class_{row['count']:g}/{name}": row[name]
                for name in ("accuracy", "rmse", "mae")
                if row["photos"]
            }
        flat |= self.precisions.metrics()
        return flat | {"data/photos": float(self.photos), "data/groups": float(self.groups)}


def truth_of(photos: Sequence[Photo], classes: tuple[int, ...], index_path: Path) -> Truth:
    """What was recorded for photos that a model of these classes is scored on.

    Raises:
        DataError: a photo has no quantity, or one that is no class.
    """
    for photo in photos:
        if photo.quantity not in classes:
            known = ", ".join(map(str, classes))
            found = "no quantity" if photo.quantity is None else f"the quantity {photo.quantity}"
            raise DataError(
                f"{index_path}: {photo.name} has {found}, the model counts {known}; prepare the index with "
                "these classes"
            )
    counts = np.array([photo.quantity for photo in photos], np.int64)
    _, group_of = np.unique([photo.group for photo in photos], return_inverse=True)
    return Truth(counts, group_of, np.array(classes, np.int64))


def score(truth: Truth, said: Mapping[str, Said], settings: VerificationSettings, seed: int = 0) -> Scores:
    """Score all counters on the same photos; `said[OURS]` has probabilities, and thresholds in `settings`."""
    ours = said[OURS]
    assert ours.probabilities is not None
    resampled = {who: _resample(truth, some.counts, seed) for who, some in said.items()}
    return Scores(
        counters={who: _count_scores(*resampled[who], *resampled[OURS]) for who in said},
        probabilities={
            who: _probability_scores(truth, some.counts, some.probabilities)
            for who, some in said.items()
            if some.probabilities is not None
        },
        verdicts=_verdict_scores(truth, ours.probabilities, settings, seed),
        classes=[_class_row(truth, ours.counts, int(count)) for count in truth.classes],
        confusion=_confusion(truth, ours.counts),
        photos=len(truth.counts),
        groups=int(truth.group_of.max()) + 1,
    )


def _errors(truth: Counts, counts: Counts) -> Array:
    """(n, 4): right, squared error, absolute error, within one."""
    error = (counts - truth).astype(np.float64)
    return np.stack([error == 0, error**2, np.abs(error), np.abs(error) <= 1], axis=1).astype(np.float64)


def _resample(truth: Truth, counts: Counts, seed: int) -> tuple[Array, Array]:
    """The means of `_errors`, (4,), and their resamples, (rounds, 4)."""
    errors = _errors(truth.counts, counts)
    return errors.mean(axis=0), resampled_means(errors, truth.group_of, seed=seed)


def _count_scores(mean: Array, rounds: Array, our_mean: Array, our_rounds: Array) -> CountScores:
    return CountScores(
        accuracy=estimate(mean[0], rounds[:, 0]),
        rmse=estimate(np.sqrt(mean[1]), np.sqrt(rounds[:, 1])),
        mae=estimate(mean[2], rounds[:, 2]),
        within_one=estimate(mean[3], rounds[:, 3]),
        gain=estimate(our_mean[0] - mean[0], our_rounds[:, 0] - rounds[:, 0]),
    )


def _probability_scores(truth: Truth, counts: Counts, probabilities: Array) -> ProbabilityScores:
    share = probabilities.astype(np.float64)
    of_truth = share[np.arange(len(share)), truth.index]
    mean = np.rint(share @ truth.classes)
    median = truth.classes[(share.cumsum(axis=1) >= 0.5 - 1e-6).argmax(axis=1)]
    wrong = wrong_records(truth.index, truth.classes)
    return ProbabilityScores(
        nll=float(-np.log(np.maximum(of_truth, SMALLEST)).mean()),
        calibration=calibration_bins(share.max(axis=1), counts == truth.counts, ECE_BINS),
        rmse_of_mean=float(np.sqrt(((mean - truth.counts) ** 2).mean())),
        mae_of_median=float(np.abs(median - truth.counts).mean()),
        curve=accept_curve(record_support(share, truth.classes), truth.index, wrong),
        argmax=argmax_curve(share, truth.index, wrong),
    )


def _verdict_scores(
    truth: Truth, probabilities: Array, settings: VerificationSettings, seed: int
) -> VerdictScores:
    support = record_support(probabilities, truth.classes)
    verdicts = {"accept": support > settings.accept_above, "reject": support < settings.reject_below}
    verdicts["ask"] = ~verdicts["accept"] & ~verdicts["reject"]
    records = {
        "right": np.eye(len(truth.classes))[truth.index],
        "wrong": wrong_records(truth.index, truth.classes),
    }
    shares = {}
    for name, weights in records.items():
        per_photo = np.stack([(given * weights).sum(axis=1) for given in verdicts.values()], axis=1)
        rounds = resampled_means(per_photo, truth.group_of, seed=seed)
        shares[name] = {
            verdict: estimate(per_photo[:, place].mean(), rounds[:, place])
            for place, verdict in enumerate(verdicts)
        }
    return VerdictScores(shares["right"], shares["wrong"])


def _class_row(truth: Truth, counts: Counts, count: int) -> dict[str, float]:
    mine = truth.counts == count
    right, squared, absolute, near = (
        _errors(truth.counts[mine], counts[mine]).mean(axis=0) if mine.any() else [np.nan] * 4
    )
    return {
        "count": count,
        "photos": int(mine.sum()),
        "accuracy": float(right),
        "rmse": float(np.sqrt(squared)),
        "mae": float(absolute),
        "within_one": float(near),
    }


def _confusion(truth: Truth, counts: Counts) -> Counts:
    size = len(truth.classes)
    place = truth.index * size + np.searchsorted(truth.classes, counts)
    return np.bincount(place, minlength=size * size).reshape(size, size)

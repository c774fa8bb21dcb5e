"""Can a recorded quantity be right? Accept it, reject it, or ask a person, by how a photo supports it.

Two rates say how good that is. *Wrong accepts*: of the wrong records, the share that is accepted. *Wrong
rejects*: of the right records, the share that is rejected. Neither depends on how many records are wrong.
What wrong records look like is an assumption: half are off by one, half are any other count, each equally
likely. They are not drawn: every wrong record of a photo counts with its probability, so rates have no noise
of their own. A record of a count that the model does not know is always a question, and is in no rate.

Of all rules that accept as many wrong records, the one that accepts most right ones compares how likely the
photo makes a right record and a wrong one (Neyman and Pearson, 1933): `record_support`.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stocktake.setting_checks import expect

ERROR_RATE = 0.05
OFF_BY_ONE_SHARE = 0.5

Floats = NDArray[np.floating]
Verdict = Literal["accept", "reject", "ask"]


class VerificationSettings(BaseModel):
    """Where records are accepted and rejected; as it stands, nothing is, and a person is always asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    accept_above: float = Field(default=1.0, ge=0, le=1, description="support to accept above")
    reject_below: float = Field(default=0.0, ge=0, le=1, description="support to reject below")
    error_rate: float = Field(default=ERROR_RATE, gt=0, lt=1, description="wrong accepts, wrong rejects")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.reject_below > self.accept_above:
            raise ValueError(f"reject_below {self.reject_below} is over accept_above {self.accept_above}")
        return self

    def verdict(self, support: float) -> Verdict:
        """What to do about a record that has this `record_support`, 0..1."""
        if support > self.accept_above:
            return "accept"
        return "reject" if support < self.reject_below else "ask"


def check_error_rate(value: float) -> None:
    """Raise SettingsError unless a share of errors can be aimed at."""
    expect(0 < value < 1, "error_rate", value, "over 0 and below 1")


@dataclass(frozen=True, slots=True)
class AcceptCurve:
    """What is accepted as the threshold on a score falls; the point before the first accepts nothing.

    `score` (m,) falling, distinct; `right` and `wrong` (m,) 0..1 rising: the shares of right and of wrong
    records that have at least that score.
    """

    score: Floats
    right: Floats
    wrong: Floats

    def right_at(self, wrong_share: float) -> float:
        """The share of right records that are accepted while wrong accepts are at most `wrong_share`."""
        place = int(np.searchsorted(self.wrong, wrong_share + 1e-9, side="right"))
        return float(self.right[place - 1]) if place else 0.0


def wrong_records(truth: NDArray[np.integer], classes: NDArray[np.integer]) -> Floats:
    """How likely each class is as a wrong record of each photo.

    Args:
        truth: (n,) class indexes.
        classes: (K,) counts, K >= 2.

    Returns:
        (n, K) float64, rows that sum to 1, 0 at the truth.
    """
    other = np.arange(len(classes))[None] != truth[:, None]
    near = np.abs(classes[None] - classes[truth][:, None]) == 1
    anything = other / other.sum(axis=1, keepdims=True)
    neighbours = near.sum(axis=1, keepdims=True)
    off_by_one = np.where(neighbours > 0, near / np.maximum(neighbours, 1), anything)
    return OFF_BY_ONE_SHARE * off_by_one + (1 - OFF_BY_ONE_SHARE) * anything


def record_support(probabilities: Floats, classes: NDArray[np.integer]) -> Floats:
    """How probable it is that a record is right, where half of all records are wrong, see `wrong_records`.

    Args:
        probabilities: (n, K) of the counts.
        classes: (K,) counts, K >= 2.

    Returns:
        (n, K) float64 0..1, for a record of each class. It need not sum to 1: a photo can speak for two.
    """
    match = probabilities.astype(np.float64)
    mistaken = match @ wrong_records(np.arange(len(classes)), classes)
    both = match + mistaken
    return np.divide(match, both, out=np.zeros_like(match), where=both > 0)


def accept_curve(scores: Floats, truth: NDArray[np.integer], wrong: Floats) -> AcceptCurve:
    """The curve of accepting a record where its score is high enough.

    Args:
        scores: (n, K), for a record of each class; -inf for one that is never accepted.
        truth: (n,) class indexes.
        wrong: (n, K), see `wrong_records`.
    """
    photos, count = scores.shape
    right = np.eye(count)[truth]
    possible = np.isfinite(scores)
    score, right, wrong = (array[possible] for array in (scores, right, wrong))
    order = np.argsort(-score, kind="stable")
    score = score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # of records with equal scores
    accepted = (np.cumsum(weights[order])[last] / photos for weights in (right, wrong))
    return AcceptCurve(score[last], *accepted)


def argmax_curve(probabilities: Floats, truth: NDArray[np.integer], wrong: Floats) -> AcceptCurve:
    """The curve of the rule to beat: accept a record that is the most probable count, if that is sure enough.

    Its last point is the plain rule, count = record. Arguments as in `accept_curve`, but `probabilities`.
    """
    best = np.arange(probabilities.shape[1])[None] == probabilities.argmax(axis=1)[:, None]
    return accept_curve(np.where(best, probabilities, -np.inf), truth, wrong)


def choose_settings(
    probabilities: Floats,
    truth: NDArray[np.integer],
    classes: NDArray[np.integer],
    groups: int,
    error_rate: float = ERROR_RATE,
) -> VerificationSettings:
    """Thresholds that keep wrong accepts and wrong rejects of photos like these within `error_rate`.

    By conformal risk control (A. Angelopoulos, S. Bates, A. Fisch, L. Lei, T. Schuster: Conformal Risk
    Control, ICLR 2024): a rate that is measured on n photos may be (e (n + 1) - 1) / n, a little less than
    e, and the expected rate on a new photo is then at most e. Photos of a group are alike, so groups are
    counted. With fewer than 1/e - 1 of them nothing is accepted or rejected.

    Args:
        probabilities: (n, K) of photos that were not trained on.
        truth: (n,) class indexes.
        classes: (K,) counts.
        groups: how many groups the photos come from.
        error_rate: e, over 0 and below 1.

    Raises:
        SettingsError: it is not.
    """
    check_error_rate(error_rate)
    allowed = (error_rate * (groups + 1) - 1) / groups
    if allowed < 0:
        return VerificationSettings(error_rate=error_rate)
    support = record_support(probabilities, classes)
    curve = accept_curve(support, truth, wrong_records(truth, classes))
    place = int(np.searchsorted(curve.wrong, allowed + 1e-9, side="right"))  # the first that is too much
    accept_above = float(curve.score[place])  # there is one: at the end all wrong records are accepted
    of_right = np.sort(support[np.arange(len(truth)), truth])
    reject_below = float(of_right[int(allowed * len(truth) + 1e-9)])
    return VerificationSettings(
        accept_above=accept_above, reject_below=min(reject_below, accept_above), error_rate=error_rate
    )

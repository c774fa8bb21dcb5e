"""The rule that decides whether a challenger becomes champion, as arithmetic on two sets of metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from stocktake.errors import ModelError


@dataclass(frozen=True, slots=True)
class Criterion:
    """One metric that counts.

    Attributes:
        metric: its name, for example 'detector/ap50'.
        tolerance: how much worse than the champion a challenger may be, in the metric's own unit.
        baseline: the metric that a first champion has to beat; None where no baseline produces this one.
        lower_is_better: whether it is an error.
    """

    metric: str
    tolerance: float = 0.0
    baseline: str | None = None
    lower_is_better: bool = False


def criteria_of(task: str, metrics: Mapping[str, float]) -> tuple[Criterion, ...]:
    """What counts for a task, given the names of what was measured.

    Raises:
        ModelError: nobody has said what counts for such a task.
    """
    known = {"shelf-detector": shelf_criteria, "bin-counter": bin_criteria}
    if task not in known:
        raise ModelError(
            f"nothing says what makes a better {task}; there are criteria for {', '.join(known)}"
        )
    return known[task](metrics)


def shelf_criteria(metrics: Mapping[str, float]) -> tuple[Criterion, ...]:
    """What counts for shelves: products found, and voids found.

    Where no photo's voids are known (real ones), those that hold-out removal makes stand in for them.
    """
    voids = "voids/f1_iou30" if "voids/f1_iou30" in metrics else "voids_holdout/f1_iou30"
    return (
        Criterion("detector/ap50", tolerance=0.005, baseline="constant/detector/ap50"),
        Criterion(voids, tolerance=0.01, baseline=f"sliding_box/{voids}"),
    )


def bin_criteria(_metrics: Mapping[str, float]) -> tuple[Criterion, ...]:
    """What counts for bins: right counts, small errors, and right records that need no person.

    The baselines do not look at the photo: the most frequent count, and the middle one.
    """
    return (
        Criterion("count/accuracy", tolerance=0.005, baseline="prior/count/accuracy"),
        Criterion("count/rmse", tolerance=0.01, baseline="constant/count/rmse", lower_is_better=True),
        Criterion("verification/right_accepted_at_error", tolerance=0.01),
    )


@dataclass(frozen=True, slots=True)
class GateRow:
    """One line of the comparison; `reference` is the figure of the champion or the baseline."""

    metric: str
    challenger: float
    reference: float | None
    tolerance: float
    verdict: str  # better | not worse | worse | no reference


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the figures say: `passed`, why in one sentence, and one row per criterion."""

    passed: bool
    reason: str
    rows: tuple[GateRow, ...]

    def table(self) -> list[dict[str, Any]]:
        """The rows for a report or an MLflow table."""
        return [asdict(row) for row in self.rows]


def compare_with_champion(
    challenger: Mapping[str, float], champion: Mapping[str, float], criteria: Sequence[Criterion]
) -> Comparison:
    """Pass a challenger that is nowhere worse than the tolerance and somewhere better.

    Raises:
        ModelError: one of the two lacks a metric, or has it as NaN.
    """
    rows = tuple(
        _row(rule, _figure(challenger, rule.metric, "challenger"), _figure(champion, rule.metric, "champion"))
        for rule in criteria
    )
    worse, better = _named(rows, "worse"), _named(rows, "better")
    if worse:
        return Comparison(False, f"worse than the champion by more than tolerated: {worse}", rows)
    if not better:
        return Comparison(False, f"no better than the champion: {_named(rows, 'not worse')}", rows)
    return Comparison(True, f"better than the champion: {better}; nothing worse than tolerated", rows)


def compare_with_baseline(challenger: Mapping[str, float], criteria: Sequence[Criterion]) -> Comparison:
    """Pass a first model that beats the baseline, measured in the same evaluation, wherever there is one.

    Raises:
        ModelError: a metric is missing or NaN, or no criterion names a baseline.
    """
    rows = []
    for rule in criteria:
        figure = _figure(challenger, rule.metric, "challenger")
        if rule.baseline is None:
            rows.append(GateRow(rule.metric, figure, None, 0.0, "no reference"))
        else:
            reference = _figure(challenger, rule.baseline, "challenger's evaluation")
            rows.append(_row(replace(rule, tolerance=0.0), figure, reference))
    compared = [row for row in rows if row.reference is not None]
    lost = [row for row in compared if row.verdict != "better"]
    if not compared:
        raise ModelError("there is no champion and no criterion names a baseline, so nothing can be compared")
    if lost:
        reason = f"no champion yet, but no better than the baseline: {_figures(lost)}"
    else:
        reason = f"no champion yet, and better than the baseline: {_figures(compared)}"
    return Comparison(not lost, reason, tuple(rows))


def _figure(metrics: Mapping[str, float], name: str, whose: str) -> float:
    value = metrics.get(name)
    if value is None:
        known = ", ".join(sorted(metrics)) or "none at all"
        raise ModelError(f"the {whose} has no metric {name!r}; evaluate it again (found {known})")
    if not math.isfinite(value):
        raise ModelError(
            f"the {whose}'s {name!r} is {value}, which can't be compared; look at its evaluation report"
        )
    return value


def _row(rule: Criterion, challenger: float, reference: float) -> GateRow:
    sign = -1 if rule.lower_is_better else 1
    mine, theirs = sign * challenger, sign * reference
    if mine > theirs:
        verdict = "better"
    elif mine >= theirs - rule.tolerance:
        verdict = "not worse"
    else:
        verdict = "worse"
    return GateRow(rule.metric, challenger, reference, rule.tolerance, verdict)


def _named(rows: Sequence[GateRow], verdict: str) -> str:
    return _figures([row for row in rows if row.verdict == verdict])


def _figures(rows: Sequence[GateRow]) -> str:
    return ", ".join(f"{row.metric} {row.challenger:.4f} against {row.reference:.4f}" for row in rows)

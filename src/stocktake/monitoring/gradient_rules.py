"""Rules that read gradients and weights: do they reach every layer, and was the start a good one?"""

from dataclasses import dataclass

import numpy as np

from stocktake.monitoring.recording import ABSENT, FirstSteps, Gradients, Recording, table
from stocktake.monitoring.results import RuleResult, State
from stocktake.monitoring.rule import Rule, run_lengths

SHOWN = 10  # tensors that an answer lists


@dataclass(frozen=True)
class VanishingGradient(Rule):
    """Gradients that are too small to move a layer.

    SageMaker Debugger compares mean |gradient| of every tensor with an absolute threshold. A network that
    has converged falls below it, and so does a bias before a batch norm, whose gradient is nought by
    construction. What vanishing means is that layers far from the loss get next to nothing while others
    get much; hence `relative`. A detector's branch for large objects gets nothing where all objects are
    small, and that is as it should be; hence `share`. Residual branches that begin at nought on purpose open
    as slowly as the learning rate warms up; hence `growth`.
    """

    threshold: float = 1e-7  # of mean |gradient|; 0 = none
    relative: float = 0.0  # share of the largest mean |gradient| of the network at that step
    patience: int = 1  # looks in a row
    weights_only: bool = False  # leave out biases and norms
    share: float = 0.0  # of the tensors that has to vanish at once; 0 = one is enough
    growth: float = 0.0  # what grew so many times since the look before does not vanish; 0 = it may

    def check(self, seen: Recording) -> RuleResult:
        """Look at every recorded row; rows with NaN or infinity are LossNotDecreasing's matter."""
        gradients = seen.gradients
        chosen = np.asarray(gradients.is_weight, bool) | (not self.weights_only)
        if not chosen.any():
            return self.not_evaluated("no tensor of the network is trained")
        rows = table(gradients.mean_abs, len(gradients.names))
        finite = np.isfinite(rows).all(axis=1)
        rows, steps = rows[finite], np.asarray(gradients.step)[finite]
        if len(rows) < self.patience:
            return self.insufficient(len(rows), self.patience, "looks at the gradients")
        largest = rows.max(axis=1, keepdims=True)
        small = (rows < self.threshold) | (rows <= self.relative * largest)
        small &= (rows != ABSENT) & chosen
        if self.growth:
            small[1:] &= ~((rows[1:] > 0) & (rows[1:] >= self.growth * rows[:-1]))
        small &= small.sum(axis=1, keepdims=True) >= self.share * chosen.sum()
        fired = run_lengths(small) >= self.patience
        details = {
            "tensors": self._worst(rows, small, fired, gradients.names),
            "rows_not_finite": int((~finite).sum()),
        }
        points = int(((rows != ABSENT) & chosen).sum())
        if not fired.any():
            reason = (
                f"mean |gradient| is at least {np.where(chosen & (rows != ABSENT), rows, np.inf).min():.1e}"
            )
            return self.answer(State.NO_ISSUES, reason, datapoints=points, details=details)
        row = int(fired.any(axis=1).argmax())
        first = gradients.names[int(fired[row].argmax())]
        count = int(fired.any(axis=0).sum())
        reason = f"{count} of {int(chosen.sum())} tensors get next to no gradient; the smallest mean is" + (
            f" {rows[:, fired.any(axis=0)].min():.1e}"
        )
        where = f"{first} at step {steps[row]}"
        return self.answer(State.ISSUES, reason, where=where, violations=int(small.sum()),
                           datapoints=points, details=details)  # fmt: skip

    @staticmethod
    def _worst(
        rows: np.ndarray, small: np.ndarray, fired: np.ndarray, names: list[str]
    ) -> list[dict[str, object]]:
        columns = np.flatnonzero(fired.any(axis=0))[:SHOWN]
        return [
            {"tensor": names[c], "smallest": float(rows[:, c].min()), "looks": int(small[:, c].sum())}
            for c in columns
        ]


@dataclass(frozen=True)
class PoorWeightInitialization(Rule):
    """Weights to start from that keep a network from learning: too large, too small, or all alike.

    SageMaker Debugger's thresholds hold for a plain chain of equal layers; with those, every ResNet fires.
    Ours are wide enough for real networks, look at ratios instead of absolute gradients, want what they see
    to last (a branch that begins at nought on purpose moves after one step), and see symmetry: units that are
    still copies of one another after the first steps will stay so.
    """

    threshold: float = 10.0  # largest over smallest variance of the layers' outputs
    distribution_range: float = 0.001  # smallest 95th - 5th percentile of a tensor's gradient
    patience: int = 5  # steps in a row without a new lowest loss; 0 = do not look
    steps: int = 10  # that are looked at
    # variances and gradients have to be bad in every one of them, and a gradient that begins at nought has to
    # stay there; else one step is enough
    lasting: bool = False
    relative: bool = False  # distribution_range is a share of the largest tensor's
    share: float = (
        0.0  # of the weights whose gradients have to be that narrow; 0 = one of all tensors is enough
    )
    symmetry: bool = False  # look for units that are copies

    def check(self, seen: Recording) -> RuleResult:
        """Look at the first steps; what comes later is not the initialisation's fault."""
        first = seen.first_steps
        if not seen.gradients.names:
            return self.not_evaluated("no tensor of the network is trained")
        if seen.steps.step and seen.steps.step[0] > 0:
            return self.not_evaluated(f"the training was not watched before step {seen.steps.step[0]}")
        looked = min(len(first.spread), len(seen.steps.loss))
        if looked < self.steps:
            return self.insufficient(looked, self.steps, "steps")
        found = [
            *self._variances(first),
            *self._spreads(first, seen.gradients),
            *self._loss(np.asarray(seen.steps.loss[: self.steps], float)),
            *([f"the units of {first.identical[0]} are copies of one another"] if self._alike(first) else []),
        ]
        details = {"findings": found, "identical": first.identical[:SHOWN]}
        if found:
            return self.answer(State.ISSUES, "; ".join(found), where=f"the first {self.steps} steps",
                               violations=len(found), datapoints=looked, details=details)  # fmt: skip
        return self.answer(State.NO_ISSUES, f"the first {looked} steps are as they should be",
                           datapoints=looked, details=details)  # fmt: skip

    def _variances(self, first: FirstSteps) -> list[str]:
        rows = table(first.variance, len(first.layers))[: self.steps]
        if rows.shape[1] < 2 or not len(rows):
            return []
        if not np.isfinite(rows).all():
            layer = int((~np.isfinite(rows)).any(axis=0).argmax())
            return [f"the output of {first.layers[layer]} is not finite"]
        ratios = _ratios(rows)
        row = int(ratios.argmin() if self.lasting else ratios.argmax())
        if ratios[row] <= self.threshold:
            return []
        low, high = first.layers[int(rows[row].argmin())], first.layers[int(rows[row].argmax())]
        return [f"the outputs of {high} vary {ratios[row]:.1e} times as much as those of {low}"]

    def _spreads(self, first: FirstSteps, gradients: Gradients) -> list[str]:
        rows = table(first.spread, len(gradients.names))[: self.steps]
        chosen = np.asarray(gradients.is_weight, bool) | (not self.share)
        known = chosen & (rows != ABSENT) & np.isfinite(rows)
        if self.lasting and len(rows):
            known &= ~((rows[0] == 0) & (rows[-1] > 0))  # a branch that opens, at the pace of the warm-up
        largest = np.where(known, rows, 0.0).max(axis=1, keepdims=True)
        narrow = known & (rows < self.distribution_range * (largest if self.relative else 1.0))
        under = narrow.sum(axis=1) >= max(1, self.share * chosen.sum())
        if not (under.all() if self.lasting else under.any()):
            return []
        row = int(under.argmax())
        column = int(np.where(narrow[row], rows[row], np.inf).argmin())
        return [f"the gradients of {gradients.names[column]} spread over {rows[row, column]:.1e} only"]

    def _loss(self, losses: np.ndarray) -> list[str]:
        if not self.patience:
            return []
        lowest = np.minimum.accumulate(losses)
        stale = np.concatenate([[False], ~(losses[1:] < lowest[:-1])])
        if run_lengths(stale).max(initial=0) < self.patience:
            return []
        return [f"the loss has not fallen for {self.patience} steps"]

    def _alike(self, first: FirstSteps) -> bool:
        return self.symmetry and bool(first.identical)


def _ratios(rows: np.ndarray) -> np.ndarray:
    """Largest over smallest of each row; infinity where the smallest is 0 and the largest is not."""
    smallest, largest = rows.min(axis=1), rows.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(largest > 0, largest / smallest, 1.0)

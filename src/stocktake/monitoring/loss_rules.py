"""Rules that read losses: does the network learn, does it still, and does it learn by heart?"""

from dataclasses import dataclass

import numpy as np

from stocktake.monitoring.recording import Epoch, Recording
from stocktake.monitoring.results import RuleResult, State
from stocktake.monitoring.rule import Rule, run_lengths


@dataclass(frozen=True)
class Overfit(Rule):
    """Val loss so far above train loss that the network learns photos by heart.

    A gap of a tenth in a single epoch, SageMaker Debugger's default, is what most healthy networks have at
    their end, and train loss is raised by dropout and augmentation. Ours compares with the train loss in
    eval mode where the trainer gives one, wants the gap several times in a row, wants val loss to have turned
    upwards, and does not divide by a train loss that is almost nought.
    """

    ratio_threshold: float = 0.1  # of (val - train) / train
    patience: int = 1  # epochs in a row
    start_step: int = 0  # epochs that are left out at the start
    rise: float | None = None  # share that val loss has to be above its lowest; None = need not be
    floor: float = 0.0  # share of the first val loss that stands in for a smaller train loss
    eval_mode: bool = False  # prefer the train loss in eval mode

    def check(self, seen: Recording) -> RuleResult:
        """Look at all epochs that have both losses."""
        both = [epoch for epoch in seen.epochs if epoch.train is not None and epoch.val is not None]
        if seen.epochs and not both:
            return self.not_evaluated("the epochs have no train loss and val loss to compare")
        epochs = [epoch for epoch in both if _is_finite(epoch)]
        if len(epochs) < self.start_step + self.patience:
            return self.insufficient(
                len(epochs), self.start_step + self.patience, "epochs with train and val loss"
            )
        train = np.array([self._train_loss(epoch) for epoch in epochs])
        val = np.array([epoch.val for epoch in epochs], float)
        base = np.maximum(train, self.floor * val[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.where(base > 0, (val - base) / base, np.where(val > 0, np.inf, 0.0))
        over = gap > self.ratio_threshold
        if self.rise is not None:
            over &= val > np.minimum.accumulate(val) * (1 + self.rise)
        over[: self.start_step] = False
        details = {
            "train_loss": "in eval mode" if self._in_eval_mode(epochs) else "of the training steps",
            "gaps": {epoch.epoch: round(float(g), 4) for epoch, g in zip(epochs, gap, strict=True)},
            "epochs_not_finite": len(both) - len(epochs),
        }
        fired = run_lengths(over) >= self.patience
        if not fired.any():
            reason = f"val loss is {gap[-1]:+.0%} from train loss in the last epoch"
            return self.answer(State.NO_ISSUES, reason, datapoints=len(epochs), details=details)
        first = int(fired.argmax())
        reason = f"val loss {val[first]:.4g} is {gap[first]:.0%} above train loss {train[first]:.4g}" + (
            f" for {self.patience} epochs" if self.patience > 1 else ""
        )
        return self.answer(State.ISSUES, reason, where=f"epoch {epochs[first].epoch}",
                           violations=int(over.sum()), datapoints=len(epochs), details=details)  # fmt: skip

    def _in_eval_mode(self, epochs: list[Epoch]) -> bool:
        return self.eval_mode and any(epoch.train_eval is not None for epoch in epochs)

    def _train_loss(self, epoch: Epoch) -> float:
        use_eval = self.eval_mode and epoch.train_eval is not None
        return float(epoch.train_eval if use_eval else epoch.train)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Overtraining(Rule):
    """More epochs than the network profits from.

    SageMaker Debugger's delta is absolute: a loss that starts at .08 can never fall by .1. Ours is a share.
    """

    patience_train: int = 5  # epochs without a better train loss
    patience_validation: int = 10  # epochs without a better val loss
    delta: float = 0.1  # by which a loss has to be lower to be better
    relative: bool = False  # delta is a share of the lowest loss

    def check(self, seen: Recording) -> RuleResult:
        """Follow the lowest loss so far, of train and of val."""
        parts = [
            ("train", self.patience_train, _series(seen.epochs, "train")),
            ("val", self.patience_validation, _series(seen.epochs, "val")),
        ]
        parts = [part for part in parts if part[2]]
        if seen.epochs and not parts:
            return self.not_evaluated("the epochs have no losses")
        found, details, where, violations = [], {}, "", 0
        for split, patience, series in parts:
            stale, best = self._stale(series)
            details[split] = {"lowest": best[1], "in_epoch": best[0], "epochs_since": int(stale[-1])}
            over = stale >= patience
            violations += int(over.sum())
            if over.any():
                where = where or f"epoch {series[int(over.argmax())][0]}"
                found.append(f"{split} loss was lowest, {best[1]:.4g}, in epoch {best[0]}"
                             f" and no better for {int(stale.max())} epochs")  # fmt: skip
        points = max((len(series) for *_, series in parts), default=0)
        needed = max((patience + 1 for _, patience, _ in parts), default=self.patience_train + 1)
        if found:
            return self.answer(State.ISSUES, "; ".join(found), where=where, violations=violations,
                               datapoints=points, details=details)  # fmt: skip
        if points < needed:
            return self.insufficient(points, needed, "epochs")
        return self.answer(
            State.NO_ISSUES, "the losses are still falling", datapoints=points, details=details
        )

    def _stale(self, series: list[tuple[int, float]]) -> tuple[np.ndarray, tuple[int, float]]:
        """Epochs since the last better loss, at each epoch; the epoch and the value of the best one."""
        stale, best = [], series[0]
        since = 0
        for number, (epoch, loss) in enumerate(series):
            limit = best[1] * (1 - self.delta) if self.relative else best[1] - self.delta
            if number and loss < limit:
                best, since = (epoch, loss), number
            stale.append(number - since)
        return np.array(stale), best


@dataclass(frozen=True)
class LossNotDecreasing(Rule):
    """A loss that does not fall.

    SageMaker Debugger compares the losses of two single batches, which are noise. Ours takes means over
    windows of steps, asks whether the network has learnt anything since the first window, whether the loss
    has risen again by a good part, and whether it is a number at all. A loss that has come down and stays
    there is Overtraining's matter.
    """

    num_steps: int = 10  # between two checks
    diff_percent: float = 0.0  # by which the loss has to be lower
    patience: int = 1  # checks in a row
    windows: bool = (
        False  # means over num_steps, compared with the first one; else single steps, the previous
    )
    rise_percent: float | None = None  # above the lowest window is a fault at once; None = is not looked at

    def check(self, seen: Recording) -> RuleResult:
        """Check every `num_steps` steps."""
        losses = np.asarray(seen.steps.loss, float)
        bad = ~np.isfinite(losses)
        if bad.any():
            step = seen.steps.step[int(bad.argmax())]
            return self.answer(State.ISSUES, f"the loss is {losses[bad][0]}", where=f"step {step}",
                               violations=int(bad.sum()), datapoints=len(losses))  # fmt: skip
        values, at = self._values(losses)
        if len(values) <= self.patience:
            whole = self.num_steps if self.windows else 1
            needed = self.patience * self.num_steps + whole
            return self.insufficient(len(losses), needed, "steps")
        before = values[0] if self.windows else values[:-1]
        stuck = ~(values[1:] < before * (1 - self.diff_percent / 100))
        risen = np.zeros_like(stuck)
        if self.rise_percent is not None:
            lowest = np.minimum.accumulate(values)[:-1]
            risen = values[1:] > lowest * (1 + self.rise_percent / 100)
        fired = (run_lengths(stuck) >= self.patience) | risen
        details = {"first": float(values[0]), "lowest": float(values.min()), "last": float(values[-1])}
        if not fired.any():
            reason = f"the loss went from {values[0]:.4g} to {values[-1]:.4g}"
            return self.answer(State.NO_ISSUES, reason, datapoints=len(values) - 1, details=details)
        check = int(fired.argmax())
        reason = (
            f"the loss rose from {values[: check + 1].min():.4g} to {values[check + 1]:.4g}"
            if risen[check]
            else f"the loss is {values[check + 1]:.4g},"
            f" not lower than {values[0 if self.windows else check]:.4g}"
        )
        return self.answer(State.ISSUES, reason, where=f"step {seen.steps.step[at[check + 1]]}",
                           violations=int((stuck | risen).sum()), datapoints=len(values) - 1,
                           details=details)  # fmt: skip

    def _values(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The losses to compare, and the index of the step at which each is known."""
        if self.windows:
            count = len(losses) // self.num_steps
            at = np.arange(1, count + 1) * self.num_steps - 1
            return losses[: count * self.num_steps].reshape(count, self.num_steps).mean(axis=1), at
        at = np.arange(0, len(losses), self.num_steps)
        return losses[at], at


def _is_finite(epoch: Epoch) -> bool:
    return bool(np.isfinite([epoch.train or 0.0, epoch.val or 0.0, epoch.train_eval or 0.0]).all())


def _series(epochs: list[Epoch], split: str) -> list[tuple[int, float]]:
    found = [(epoch.epoch, getattr(epoch, split)) for epoch in epochs]
    return [(epoch, loss) for epoch, loss in found if loss is not None and np.isfinite(loss)]

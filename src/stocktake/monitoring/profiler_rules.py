"""The rules that read step times, and the profiler report that sums up all of its members."""

from dataclasses import dataclass, field

import numpy as np

from stocktake.monitoring.machine_rules import percentiles
from stocktake.monitoring.recording import Recording, table
from stocktake.monitoring.results import RuleResult, State
from stocktake.monitoring.rule import Rule


@dataclass(frozen=True)
class StepOutlier(Rule):
    """Steps that take far longer than the others.

    SageMaker Debugger counts steps over mean + 3 standard deviations, which a long run always has. Ours
    asks what they cost: the time beyond `factor` medians, as a share of all.
    """

    stddev: float = 3.0
    n_outliers: int = 10  # that are let pass
    factor: float | None = None  # of the median, instead of the standard deviation
    share: float = 0.0  # of all time that has to be lost in outliers
    minimum: int = 20  # steps to judge by

    def check(self, seen: Recording) -> RuleResult:
        """Look at all steps but the first of an epoch and those that were traced."""
        seconds = np.asarray(seen.steps.seconds, float)
        numbers = np.asarray(seen.steps.step)[~np.isnan(seconds)]
        seconds = seconds[~np.isnan(seconds)]
        if len(seconds) < self.minimum:
            return self.insufficient(len(seconds), self.minimum, "timed steps")
        usual = float(np.median(seconds))
        limit = self.factor * usual if self.factor else float(seconds.mean() + self.stddev * seconds.std())
        over = seconds > limit
        lost = float((seconds[over] - usual).sum() / seconds.sum())
        fired = int(over.sum()) > self.n_outliers and lost > self.share
        slow = f"{int(over.sum())} of {len(seconds)} steps took over {limit:.3g} s"
        reason = f"{slow} and cost {lost:.1%} of the time"
        details = {
            "step": percentiles(seconds, "seconds"),
            "slowest": [int(number) for number in numbers[np.argsort(-seconds)[:5]]],
        }
        return self.answer(State.ISSUES if fired else State.NO_ISSUES, reason, violations=int(over.sum()),
                           where=f"step {numbers[over][0]}" if fired else "", datapoints=len(seconds),
                           details=details)  # fmt: skip


@dataclass(frozen=True)
class MaxInitializationTime(Rule):
    """Too long a time until the first step is done."""

    threshold: float = 20.0  # minutes

    def check(self, seen: Recording) -> RuleResult:
        """Compare the time from the making of the monitor to the first step."""
        if seen.start_seconds is None:
            return self.insufficient(0, 1, "steps")
        minutes = seen.start_seconds / 60
        fired = minutes > self.threshold
        return self.answer(State.ISSUES if fired else State.NO_ISSUES,
                           f"the first step was done after {seen.start_seconds:.1f} s",
                           violations=int(fired), where="start" if fired else "", datapoints=1)  # fmt: skip


@dataclass(frozen=True)
class Dataloader(Rule):
    """Too few or too many loading processes for the cores.

    SageMaker Debugger goes by their number alone. What counts is whether the training waits for them.
    """

    min_threshold: float = 70.0  # percent of the cores; 0 = too few is what `wait_share` says
    max_threshold: float = 200.0
    wait_share: float | None = None  # of the time that may go to waiting for data

    def check(self, seen: Recording) -> RuleResult:
        """Compare the number of processes with the cores, and the waiting with all time."""
        workers, cores = seen.loader_workers, seen.cores
        phases = [epoch.phases for epoch in seen.epochs if epoch.phases]
        total = sum(sum(phase.values()) for phase in phases)
        waited = sum(phase.get("data wait", 0.0) for phase in phases) / total if total else None
        if workers is None and (self.wait_share is None or waited is None):
            return self.not_evaluated(
                "the trainer did not say how many processes load, nor how long it waits"
            )
        found, details = [], {"workers": workers, "cores": cores, "wait_share": waited}
        if workers is not None and cores:
            percent = 100 * workers / cores
            if not self.min_threshold <= percent <= self.max_threshold:
                found.append(f"{workers} loading processes on {cores} cores")
        if self.wait_share is not None and waited is not None and waited > self.wait_share:
            found.append(f"{waited:.1%} of the time goes to waiting for data")
        reason = "; ".join(found) or f"{workers} loading processes on {cores} cores" + (
            f", {waited:.1%} of the time waiting" if waited is not None else ""
        )
        return self.answer(State.ISSUES if found else State.NO_ISSUES, reason, violations=len(found),
                           where="loader" if found else "", datapoints=1, details=details)  # fmt: skip


@dataclass(frozen=True)
class OverallSystemUsage(Rule):
    """How much of the machine was used; statistics that never fire."""

    def check(self, seen: Recording) -> RuleResult:
        """Give percentiles of GPU, GPU memory, CPU, I/O wait and memory, all in percent."""
        samples = seen.samples
        if not len(samples.cpu):
            return self.insufficient(0, 1, "samples")
        named = {"cpu": samples.cpu, "i/o": samples.io_wait, "memory": samples.memory}
        series = {name: np.asarray(values, float) for name, values in named.items()}
        for name, rows in (("gpu", samples.gpu), ("gpu_memory", samples.gpu_memory)):
            columns = table(rows, len(samples.gpus)).T
            series |= {f"{name}{number}": column for number, column in enumerate(columns)}
        details = {name: percentiles(values, "value") for name, values in series.items() if len(values)}
        reason = f"CPU {np.median(series['cpu']):.0f} % in the median of {len(samples.cpu)} samples"
        return self.answer(State.NO_ISSUES, reason, datapoints=len(samples.cpu), details=details)


@dataclass(frozen=True)
class FrameworkMetrics(Rule):
    """Where the time of a step goes; statistics that never fire."""

    def check(self, seen: Recording) -> RuleResult:
        """Give the share of each phase and the operators that cost most."""
        totals: dict[str, float] = {}
        for epoch in seen.epochs:
            for phase, seconds in epoch.phases.items():
                totals[phase] = totals.get(phase, 0.0) + seconds
        steps = sum(epoch.steps for epoch in seen.epochs)
        if not steps or not sum(totals.values()):
            return self.insufficient(steps, 1, "timed steps in whole epochs")
        shares = {phase: round(seconds / sum(totals.values()), 4) for phase, seconds in totals.items()}
        details = {"phases": shares, "operators": [vars(row) for row in seen.operators]}
        reason = ", ".join(f"{phase} {share:.0%}" for phase, share in shares.items())
        return self.answer(State.NO_ISSUES, reason, datapoints=steps, details=details)


@dataclass(frozen=True)
class ProfilerReport(Rule):
    """Issues where any of its members has found some."""

    members: tuple[Rule, ...] = field(default_factory=tuple)

    def check_members(self, seen: Recording) -> list[RuleResult]:
        """The answers of the members."""
        return [member.check(seen) for member in self.members]

    def check(self, seen: Recording) -> RuleResult:
        """Ask the members and sum up."""
        return self.sum_up(self.check_members(seen))

    def sum_up(self, answers: list[RuleResult]) -> RuleResult:
        """One answer from those of the members."""
        by_state = {state: [a.rule for a in answers if a.state is state] for state in State}
        fired = by_state[State.ISSUES]
        judged = fired + by_state[State.NO_ISSUES]
        state = State.ISSUES if fired else State.NO_ISSUES if judged else State.INSUFFICIENT
        reason = (f"{', '.join(fired)} found issues" if fired else "no member found issues") + (
            f"; {len(judged)} of {len(answers)} members could judge"
        )
        return RuleResult(
            self.name, state, reason, where=", ".join(fired), violations=len(fired), datapoints=len(answers),
            details={name.value: rules for name, rules in by_state.items()},
            parameters={member.name: vars(member) for member in self.members},
        )  # fmt: skip

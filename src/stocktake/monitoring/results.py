"""What a training rule answers: one of four states, with where, how bad, and on how many points."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """The four answers of a rule. Silence for want of data is not the same as silence for want of faults."""

    NO_ISSUES = "NoIssuesFound"
    ISSUES = "IssuesFound"
    INSUFFICIENT = "InsufficientData"  # too few points yet: train longer, or sample more often
    NOT_EVALUATED = "NotEvaluated"  # there is nothing here to look at, such as a GPU


@dataclass(frozen=True, slots=True)
class RuleResult:
    """A rule's answer about a training so far."""

    rule: str
    state: State
    reason: str  # a sentence: how bad it is, what is missing, or what was looked at
    where: str = ""  # step, epoch, tensor or device of the first finding; '' without one
    violations: int = 0  # points at which the rule's condition held
    datapoints: int = 0  # points that were looked at
    details: Mapping[str, Any] = field(default_factory=dict)  # plain JSON values
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All fields as plain JSON; infinity and NaN, which JSON lacks, as text."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    @property
    def fired(self) -> bool:
        """Whether the rule found issues."""
        return self.state is State.ISSUES

    def as_profiler_report(self) -> dict[str, Any]:
        """The answer as a profiler-reports/<Rule>.json of SageMaker Debugger, with our state beside it."""
        found: dict[str, Any] = {
            "RuleTriggered": self.violations if self.fired else 0,
            "Violations": self.violations,
            "Details": plain(self.details),
            "Datapoints": self.datapoints,
            "RuleParameters": "\n".join(f"{name}:{value}" for name, value in self.parameters.items()),
            "State": self.state.value,
            "Reason": self.reason,
            "Where": self.where,
        }
        return found


class StopTraining(Exception):
    """A rule that was asked to end the run has found issues; the trainer keeps what it has and ends."""

    def __init__(self, rule: str, reason: str):
        super().__init__(f"{rule}: {reason}")
        self.rule = rule
        self.reason = reason


def summary(results: Iterable[RuleResult]) -> str:
    """One line per rule, `Name: State`, as SageMaker Debugger prints it; with why where there is an issue."""
    return "\n".join(
        f"{result.rule}: {result.state.value}"
        + ("" if result.state is State.NO_ISSUES else f" ({result.reason})")
        for result in results
    )


def plain(value: Any) -> Any:
    """A value of an answer as JSON takes it: parameters of members as mappings, infinity and NaN as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

"""How a deploy tries a candidate, and what it says in the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from stocktake.setting_checks import expect, expect_choice, expect_whole

OPTIONS = ("canary", "watch_s", "max_error_rate", "max_p99_s", "in_place", "hold", "ready_s")
DAY_S = 86_400

Outcome = Literal["deployed", "held", "rolled back", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """How a deploy tries a candidate.

    Attributes:
        canary: percent of the requests that it gets while it is watched, 1 to 100.
        smoke: folder of photos, or an index.parquet, to compare answers on; None draws some.
        watch_s: how long it is watched.
        max_error_rate: share of answers that may be errors of ours, 0 to 1.
        max_p99_s: 99 % of answers must be faster.
        in_place: exchange the model in place, after a rehearsal on CPU, where there is no room for a canary.
        hold: leave it at its share, for a person to promote or to roll back.
        url: where the candidate answers over REST, where its pods can't be reached from here.
        token: that the predictors ask for.
        ready_s: how long pods may take to be ready.
        poll_s: between two looks at the cluster.

    Raises:
        SettingsError: a value is impossible; names it.
    """

    canary: int = 10
    smoke: Path | None = None
    watch_s: float = 60.0
    max_error_rate: float = 0.01
    max_p99_s: float = 2.5
    in_place: bool = False
    hold: bool = False
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    ready_s: float = 900.0
    poll_s: float = 2.0

    def __post_init__(self) -> None:
        expect_whole("canary", self.canary, 1, 100, " percent")
        _expect_number("max_error_rate", self.max_error_rate, 1)
        for name in ("watch_s", "max_p99_s", "ready_s"):
            _expect_number(name, getattr(self, name), DAY_S)
        for name in ("in_place", "hold"):
            expect(isinstance(getattr(self, name), bool), name, getattr(self, name), "true or false")
        expect(self.smoke is None or self.smoke.exists(), "smoke", str(self.smoke), "a folder or an index")

    @classmethod
    def of(cls, options: Mapping[str, Any], smoke: Path | None = None, token: str | None = None) -> Self:
        """Those that a pipeline's parameter asks for by name: any of OPTIONS.

        Raises:
            SettingsError: a name is unknown, or a value is impossible.
        """
        for name in options:
            expect_choice("a name in deploy_options", name, OPTIONS)
        share = options.get("canary")
        if isinstance(share, float) and share.is_integer():  # Kubeflow knows no other numbers
            options = {**options, "canary": int(share)}
        return cls(**options, smoke=smoke, token=token)


def _expect_number(name: str, found: object, highest: float) -> None:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    expect(is_number and 0 <= found <= highest, name, found, f"a number in 0..{highest:g}")  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class DeployReport:
    """What was done, to which model, and why."""

    outcome: Outcome
    service: str
    reason: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.service}: {self.outcome}: {self.reason}"

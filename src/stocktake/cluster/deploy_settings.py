"""How a deploy tries a candidate, and what it says in the end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stocktake.errors import SettingsError

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
        SettingsError: a value is out of range; names the flag.
    """

    canary: int = 10
    smoke: Path | None = None
    watch_s: float = 60.0
    max_error_rate: float = 0.01
    max_p99_s: float = 2.5
    in_place: bool = False
    hold: bool = False
    url: str | None = None
    token: str | None = None
    ready_s: float = 900.0
    poll_s: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.canary <= 100:
            raise SettingsError(f"--canary {self.canary}: give 1 to 100 percent")
        if not 0 <= self.max_error_rate <= 1:
            raise SettingsError(f"--max-error-rate {self.max_error_rate}: give a share from 0 to 1")
        for flag, value in (("--watch-seconds", self.watch_s), ("--max-p99", self.max_p99_s)):
            if not 0 <= value <= 86_400:
                raise SettingsError(f"{flag} {value:g}: give 0 to 86400 seconds")
        if self.smoke and not self.smoke.exists():
            raise SettingsError(f"--smoke {self.smoke}: there is no such folder or index")


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

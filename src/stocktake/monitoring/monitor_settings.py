"""How a training is watched, checked before it starts."""

from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

from stocktake.errors import SettingsError

RULES = (
    "VanishingGradient",
    "Overfit",
    "Overtraining",
    "PoorWeightInitialization",
    "LossNotDecreasing",
    "LowGPUUtilization",
    "ProfilerReport",
)
Preset = Literal["ours", "seed"]


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """Which parameters the rules use, which of them end a run, and how often they look."""

    preset: Preset = "ours"  # 'seed' = SageMaker Debugger's published defaults
    stop_on: tuple[str, ...] = ()  # rules that end the run when they find issues
    every: int = 10  # steps between two looks at the gradients; the losses of all steps are kept
    sample_hz: float = 2.0  # looks at GPU, CPU and disk in a second; 0 = none
    trace_at: int = 15  # step from which torch.profiler records, after the warm-up of kernels and caches
    trace_steps: int = 3  # that it records; 0 = none

    def __post_init__(self) -> None:
        if self.preset not in get_args(Preset):
            raise SettingsError(f"rules is {self.preset!r}; it must be one of {', '.join(get_args(Preset))}")
        unknown = [name for name in self.stop_on if name not in RULES]
        if unknown:
            raise SettingsError(f"stop_on names {', '.join(unknown)}; the rules are {', '.join(RULES)}")
        for name, lowest in (("every", 1), ("sample_hz", 0), ("trace_at", 1), ("trace_steps", 0)):
            if not getattr(self, name) >= lowest:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; it must be at least {lowest}")

    @classmethod
    def parse(cls, preset: str, stop_on: str = "") -> Self:
        """The settings of a preset, and of names of rules with commas between them.

        Raises:
            SettingsError: there is no such preset or rule.
        """
        names = tuple(name.strip() for name in stop_on.split(",") if name.strip())
        return cls(preset=cast(Preset, preset), stop_on=names)

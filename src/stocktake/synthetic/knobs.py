"""What the settings of all drawings share: checked ranges, and difficulties by name."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from stocktake.errors import SettingsError

Range = tuple[float, float]
Settings = TypeVar("Settings")


def check_knobs(settings: Any) -> None:
    """Raise SettingsError for a range with its ends swapped or a share below zero; takes a dataclass."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
            raise SettingsError(f"{field.name} is {value}; the lower end must come first")
        if isinstance(value, float) and value < 0:
            raise SettingsError(f"{field.name} is {value}; it must not be negative")


def apply_preset(
    base: Settings,
    difficulties: Mapping[str, Mapping[str, Any]],
    difficulty: str,
    changes: Mapping[str, Any],
) -> Settings:
    """Settings of a difficulty, with single settings changed; `base` is a dataclass with the defaults.

    Raises SettingsError for a difficulty or a setting that there is not.
    """
    if difficulty not in difficulties:
        raise SettingsError(f"difficulty is {difficulty!r}; choose one of {', '.join(difficulties)}")
    known = {field.name for field in fields(base)}  # type: ignore[arg-type]
    unknown = sorted(set(changes) - known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return replace(base, **{**difficulties[difficulty], **changes})  # type: ignore[type-var]

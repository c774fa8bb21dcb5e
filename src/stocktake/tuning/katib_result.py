"""What an Experiment of Katib has found, as `kubectl get experiment NAME -o json` gives it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stocktake.errors import SettingsError
from stocktake.files import read_text
from stocktake.tuning.search_space import Choices, SearchSpace, Value


def best_values(path: Path, space: SearchSpace) -> dict[str, Value]:
    """The parameters of the best trial, in the types of the settings.

    Args:
        path: JSON of an Experiment; one that still runs has the best trial so far.
        space: what the experiment was written from.

    Raises:
        SettingsError: the file can't be read, is no Experiment, is of another space, or no trial of it has
            succeeded yet.
    """
    found = _read(path)
    best = found.get("status", {}).get("currentOptimalTrial", {})
    assigned = {each["name"]: str(each["value"]) for each in best.get("parameterAssignments") or ()}
    name = found.get("metadata", {}).get("name", "NAME")
    if not assigned:
        raise SettingsError(
            f"{path}: no trial of it has succeeded ({_condition(found)}); look at `kubectl get trials -l"
            f" katib.kubeflow.org/experiment={name}`, and fetch it again once one has"
        )
    if assigned.keys() != space.parameters.keys():
        raise SettingsError(
            f"{path}: the experiment searched {', '.join(sorted(assigned))}, but the space searches"
            f" {', '.join(sorted(space.parameters))}; give the --space that it was written from"
        )
    return typed(path, space, assigned)


def typed(where: object, space: SearchSpace, assigned: Mapping[str, str]) -> dict[str, Value]:
    """Parameters that Katib has as text, as the space has them.

    Raises:
        SettingsError: one is not of the space; `where` begins the message.
    """
    return {name: _value(where, space, name, text) for name, text in assigned.items()}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_text(path, SettingsError))
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON ({error}); write it with `kubectl get … -o json`") from error
    kind = found.get("kind") if isinstance(found, dict) else type(found).__name__
    if kind != "Experiment":
        raise SettingsError(f"{path}: holds a {kind}, not one Experiment of Katib")
    return dict(found)


def _value(where: object, space: SearchSpace, name: str, text: str) -> Value:
    parameter = space.parameters[name]
    try:
        if not isinstance(parameter, Choices):
            number = float(text)
            if not parameter.low <= number <= parameter.high:
                raise ValueError
            return int(number) if space.is_whole(name) else number
        return next(choice for choice in parameter.choices if str(choice) == text)
    except (ValueError, StopIteration):
        raise SettingsError(
            f"{where}: {name} is {text!r}, which the space does not hold ({parameter.values}); give the"
            " --space that it was written from"
        ) from None


def _condition(found: Mapping[str, Any]) -> str:
    """What it says of itself last, such as Running or Failed."""
    conditions = found.get("status", {}).get("conditions") or [{"type": "not begun"}]
    return str(conditions[-1]["type"])

"""Holds a search space against the settings of training: their names, their types, their limits."""

from __future__ import annotations

import contextlib
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.errors import SettingsError

if TYPE_CHECKING:
    from stocktake.tuning.search_space import SearchSpace

# what each epoch is measured by, and which way is better
METRICS = {"val/accuracy": "maximize", "val/rmse": "minimize", "val/mae": "minimize", "val/loss": "minimize"}
PLACE = ("device", "squares", "project", "name", "resume")  # settings that the search itself decides


def check_space(space: SearchSpace) -> SearchSpace:
    """The space with its numbers in the settings' own types.

    Raises:
        SettingsError: the settings do not take all of its values; names the field.
    """
    better = METRICS.get(space.metric)
    if better is None:
        raise SettingsError(f"metric: {space.metric!r} is not measured; take one of {', '.join(METRICS)}")
    if space.goal != better:
        raise SettingsError(f"goal: it is {space.goal}, but of {space.metric} one wants to {better}")
    fixed = {name: _in_type(name, value, f"fixed.{name}") for name, value in space.fixed.items()}
    _expect_together(fixed, "fixed")
    refit = {name: _in_type(name, value, f"refit.{name}") for name, value in space.refit.items()}
    _expect_together({**fixed, **refit}, "refit")
    parameters = {}
    for name, parameter in space.parameters.items():
        place = f"parameters.{name}"
        parameter = parameter.converted(partial(_in_type, name, place=place))
        if name in fixed:
            raise SettingsError(f"fixed.{name}: it is searched, too; leave it out in one of the places")
        for value in parameter.values:
            _expect_together({**fixed, name: value}, place)
        parameters[name] = parameter
    return space.model_copy(update={"fixed": fixed, "refit": refit, "parameters": parameters})


def setting_types(name: str) -> set[type]:
    """The types of a setting's values: of `float | None` float, of a choice of texts str."""
    hint = get_type_hints(BinTrainSettings)[name]
    if get_origin(hint) is Literal:
        return {type(value) for value in get_args(hint)}
    return set(get_args(hint) or (hint,)) - {type(None)}


def _in_type(name: str, value: Any, place: str) -> Any:
    """The value as the setting has it: a whole number, or 1e-3, which YAML takes for text, as a float."""
    _expect_setting(name, place)
    types = setting_types(name)
    if float in types and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError):
            value = float(value)
    if type(value) not in types:
        wanted = " or ".join(sorted(kind.__name__ for kind in types))
        raise SettingsError(f"{place}: found {value!r}; {name} takes {wanted}")
    return value


def _expect_setting(name: str, place: str) -> None:
    """Refuse what is no setting, what the search decides, and a search that would change nothing."""
    decides = BinTrainSettings().identity
    known = [
        field.name
        for field in fields(BinTrainSettings)
        if field.name not in PLACE and (not place.startswith("parameters") or field.name in decides)
    ]
    if name not in known:
        raise SettingsError(f"{place}: no setting that can stand here; take {', '.join(known)}")


def _expect_together(settings: dict[str, Any], place: str) -> None:
    try:
        BinTrainSettings(**settings)
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from None

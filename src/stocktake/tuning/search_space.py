"""The search space: one YAML file that says what is searched, checked before anything is trained.

    metric: val/accuracy
    goal: maximize
    parameters:
      lr: {low: 0.001, high: 0.1, log: true}
      batch_size: {choices: [32, 64, 128]}
    fixed: {test_batch_size: 100}

The names of parameters are those of `BinTrainSettings`, and so are the limits of their values.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    model_validator,
)

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.errors import SettingsError
from stocktake.files import read_yaml
from stocktake.tuning.space_checks import PLACE, check_space, setting_types

SUFFIXES = (".yaml", ".yml")
MESSAGES = {  # for pydantic's kinds of problems
    "dict_type": "must be names with values",
    "model_type": "must be names with values",
    "tuple_type": "must be a list",
    "too_short": "is empty; give at least one",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "missing": "is missing",
    "extra_forbidden": "is not known here; leave it out",
}


def _number(value: Any) -> int | float:
    """Take 1e-3 for a number, which YAML takes for text."""
    try:
        number = value if isinstance(value, int | float) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError("must be a number")
    return number


def _scalar(value: Any) -> bool | int | float | str:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("must be a number, a text, true or false")
    return value


Number = Annotated[int | float, PlainValidator(_number)]
Value = Annotated[bool | int | float | str, PlainValidator(_scalar)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(_Part):
    """Every number from `low` to `high`, both included; whole ones where the setting is whole."""

    low: Number
    high: Number
    log: bool = False  # as many values between 0.001 and 0.01 as between 0.01 and 0.1
    step: Number | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}; a logarithmic range must start above 0")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step is {self.step}; it must be above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one out")
        return self

    @property
    def values(self) -> list[Value]:
        """Its ends."""
        return [self.low, self.high]

    def converted(self, convert: Callable[[Any], Any]) -> Self:
        """The same range with its numbers in another type."""
        step = None if self.step is None else convert(self.step)
        return self.model_copy(update={"low": convert(self.low), "high": convert(self.high), "step": step})


class Choices(_Part):
    """One of these values; their order does not matter."""

    choices: tuple[Value, ...]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if not self.choices:
            raise ValueError("choices is empty; give at least one value")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices has a value twice: {list(self.choices)}")
        return self

    @property
    def values(self) -> list[Value]:
        """All of them."""
        return list(self.choices)

    def converted(self, convert: Callable[[Any], Any]) -> Self:
        """The same choices in another type."""
        return self.model_copy(update={"choices": tuple(map(convert, self.choices))})


class Pruning(_Part):
    """When a trial is stopped early: its best value so far is worse than the median at that epoch."""

    startup_trials: int = Field(default=5, ge=1)  # to complete before any is stopped
    warmup_epochs: int = Field(default=1, ge=0)  # of each trial, in which it is not stopped


def _kind(value: Any) -> str:
    has_choices = "choices" in value if isinstance(value, Mapping) else isinstance(value, Choices)
    return "choices" if has_choices else "range"


Parameter = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]


class SearchSpace(_Part):
    """What is searched, what stays as it is, and what counts as better."""

    metric: str
    goal: Literal["maximize", "minimize"]
    parameters: dict[str, Parameter] = Field(min_length=1)
    trials: int = Field(default=20, ge=1)  # where the caller does not say how many
    fixed: dict[str, Value] = {}  # the same in every trial and in the refit
    refit: dict[str, Value] = {}  # other than in the trials, for the final training
    photos: int | None = Field(default=None, ge=1)  # train photos of a trial; the refit takes all of them
    pruning: Pruning = Pruning()

    @property
    def identity(self) -> dict[str, Any]:
        """What trials must share to be compared, as JSON: all but how many there are and when they stop."""
        return self.model_dump(mode="json", include={"metric", "goal", "parameters", "fixed", "photos"})

    def settings(self, values: Mapping[str, Value], **place: Any) -> BinTrainSettings:
        """The settings of a trial: `values` of the parameters, what is fixed, and where it runs.

        Raises:
            SettingsError: the values do not go together.
        """
        return BinTrainSettings(**{**self.fixed, **values, **place})

    def chosen(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """All that the space says of the final training, where `values` of the parameters are the best."""
        return {**self.fixed, **values, **self.refit}

    def is_whole(self, name: str) -> bool:
        """Whether a parameter takes whole numbers only."""
        return float not in setting_types(name)


def load(source: str | Path, fixed: Mapping[str, Value] | None = None) -> SearchSpace:
    """Read and check a search space.

    Args:
        source: a YAML file, or the name of one that comes with the library: bins, bins-demo.
        fixed: added to the file's `fixed`, and wins over it.

    Raises:
        SettingsError: there is no such space, or it is impossible; names the file and the field.
    """
    path = _find(source)
    content = read_yaml(path, SettingsError)
    try:
        space = SearchSpace.model_validate(content)
        space = space.model_copy(update={"fixed": {**space.fixed, **(fixed or {})}})
    except ValidationError as error:
        raise SettingsError(
            "; ".join(f"{path}: {_describe(problem)}" for problem in error.errors())
        ) from None
    try:
        return check_space(space)
    except SettingsError as error:
        with_fixed = "".join(f", with {name}={value}" for name, value in (fixed or {}).items())
        raise SettingsError(f"{path}{with_fixed}: {error}") from None


def load_within(source: str | Path, settings: BinTrainSettings) -> SearchSpace:
    """Read a space; what it does not search is as in `settings`.

    Raises:
        SettingsError: as `load`, and where the space fixes a setting at another value.
    """
    space = load(source)
    given = {
        name: value
        for name, value in asdict(settings).items()
        if name not in (*PLACE, *space.parameters) and value is not None
    }
    for name, value in space.fixed.items():
        if name in given and given[name] != value:
            raise SettingsError(
                f"{source}: fixed.{name} is {value!r}, but {name} is {given[name]!r}; give both the same "
                "value, or leave it out of the space"
            )
    return load(source, given)


def names() -> list[str]:
    """The spaces that come with the library."""
    folder = resources.files("stocktake.tuning").joinpath("spaces")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.suffix in SUFFIXES:
        return path
    if str(source) not in names():
        raise SettingsError(
            f"{source}: no such search space; give a .yaml file or one of {', '.join(names())}"
        )
    return Path(str(resources.files("stocktake.tuning").joinpath("spaces", f"{source}.yaml")))


def _describe(problem: Any) -> str:
    # the third part of a parameter's place is the kind that pydantic has chosen for it
    parts = [
        part for place, part in enumerate(problem["loc"]) if (place, problem["loc"][0]) != (2, "parameters")
    ]
    message = MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "model_type" and problem["loc"][0] == "parameters":
        message = "must be {low: ..., high: ...} or {choices: [...]}"
    found = (
        ""
        if problem["type"] == "missing" or isinstance(problem["input"], dict)
        else f", found {problem['input']!r}"
    )
    return f"{'.'.join(map(str, parts))}: {message}{found}"

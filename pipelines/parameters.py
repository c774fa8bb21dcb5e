"""A pipeline's parameters: what it declares, and what a file and a command line say about them."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from stocktake.errors import SettingsError
from stocktake.files import read_yaml
from stocktake.setting_checks import expect, expect_choice, expect_whole

_TYPES: dict[str, tuple[type, ...]] = {
    "String": (str,), "Integer": (int,), "Float": (int, float), "Boolean": (bool,), "List": (list,), "Dict":
    (dict,)
}  # fmt: skip
_WORDS = {
    "String": "text", "Integer": "a whole number", "Float": "a number", "Boolean": "true or false",
    "List": "a JSON list", "Dict": "a JSON object",
}  # fmt: skip
_SPOKEN = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter of a pipeline; `type` is KFP's word for it."""

    name: str
    type: str
    default: Any
    required: bool
    description: str

    def parse(self, text: str) -> Any:
        """Read the value from a command line, by the declared type.

        Raises:
            SettingsError: the text is not of that type.
        """
        if self.type == "String":
            return text
        if self.type == "Boolean":
            return self.check(_SPOKEN.get(text.strip().lower(), text))
        try:
            return self.check(json.loads(text))
        except json.JSONDecodeError:
            return self.check(text)

    def check(self, value: Any) -> Any:
        """Return the value, a whole number as float where the parameter is one.

        Raises:
            SettingsError: the value is not of the declared type.
        """
        is_bool = isinstance(value, bool)
        if not isinstance(value, _TYPES[self.type]) or is_bool != (self.type == "Boolean"):
            raise SettingsError(f"parameter {self.name} must be {_WORDS[self.type]}, found {value!r}")
        return float(value) if isinstance(value, int) and self.type == "Float" else value


def declared(pipeline: BaseComponent) -> dict[str, Parameter]:
    """Return the parameters of a pipeline in the order of its signature."""
    inputs = pipeline.component_spec.inputs or {}
    return {
        name: Parameter(
            name, spec.type, spec.default, not spec.optional, " ".join((spec.description or "").split())
        )
        for name, spec in inputs.items()
    }


def read_file(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of parameter names to values.

    Raises:
        SettingsError: the file cannot be read, is not YAML, or is not a mapping.
    """
    return read_yaml(path, SettingsError, empty={})


def split_assignments(assignments: Iterable[str], flag: str = "--param") -> dict[str, str]:
    """Split `key=value` words of a flag; a later one wins.

    Raises:
        SettingsError: a word has no `=`.
    """
    pairs = {}
    for word in assignments:
        name, equals, value = word.partition("=")
        if not equals:
            raise SettingsError(f"{flag} takes key=value, found {word!r}")
        pairs[name.strip()] = value
    return pairs


def resolve(
    parameters: Mapping[str, Parameter], values: Mapping[str, Any], texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a value for every parameter: its default, over it `values`, over those `texts` from a command
    line.

    Raises:
        SettingsError: a name is not declared, a value is not of its type, or a required one is missing.
    """
    texts = texts or {}
    for name in [*values, *texts]:
        if name not in parameters:
            raise SettingsError(_unknown(name, parameters))
    resolved: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in texts:
            resolved[name] = parameter.parse(texts[name])
        elif name in values:
            resolved[name] = parameter.check(values[name])
        if parameter.required and resolved.get(name, "") == "":
            raise SettingsError(
                f"parameter {name} needs a value: add `--param {name}=…` ({parameter.description})"
            )
        resolved.setdefault(name, parameter.default)
    return resolved


def check_shared(arguments: Mapping[str, Any], *counts: str) -> None:
    """Refuse impossible values of what all pipelines take, and numbers below 0 of `counts`.

    Raises:
        SettingsError, ModelError: a value is impossible.
    """
    from stocktake.cluster.deploy_settings import DeploySettings
    from stocktake.registry import check_name

    expect_choice("split", arguments["split"], ("val", "test"))
    for name in ("gpus", *counts):
        expect(arguments[name] >= 0, name, arguments[name], "0 or more")
    expect_whole("pods", arguments["pods"], 1, 256)
    expect(arguments["gpu_type"].strip(), "gpu_type", "", "the name of a resource, such as nvidia.com/gpu")
    check_name(arguments["model_name"])
    DeploySettings.of(arguments["deploy_options"])
    labels, taints = arguments["node_selector"], arguments["tolerations"]
    texts = all(isinstance(text, str) for text in labels.values())
    expect(texts, "node_selector", labels, 'labels and their values, such as {"pool": "gpu"}')
    known = {"key", "operator", "value", "effect", "tolerationSeconds"}
    fit = all(isinstance(each, dict) and each and each.keys() <= known for each in taints)
    expect(fit, "tolerations", taints, f"a list of objects with {', '.join(sorted(known))}")


def _unknown(name: str, parameters: Mapping[str, Parameter]) -> str:
    close = difflib.get_close_matches(name, parameters, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"there is no parameter {name}: {meant}The parameters are {', '.join(parameters)}"

"""The pipelines by name, and what can be asked of any of them."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from pipelines import bin_counter, bin_search, bin_steps, shelf_detector
from pipelines.parameters import Parameter, declared, resolve
from stocktake.code_version import code_version
from stocktake.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline and what is known of its parameters beyond their types."""

    name: str
    definition: BaseComponent
    paths: frozenset[str]  # parameters that name a file or folder, unless they hold an address with ://
    names: frozenset[str]  # parameters that name one if it exists, and something well known otherwise
    check: Callable[[Mapping[str, Any]], None]  # raises a StocktakeError for impossible values
    check_here: Callable[[Mapping[str, Any]], None]  # the same for what this machine cannot do

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its parameters, in the order of its signature."""
        return declared(self.definition)

    def arguments(
        self, values: Mapping[str, Any], texts: Mapping[str, str] | None = None, here: bool = True
    ) -> dict[str, Any]:
        """Return a value for every parameter, checked; paths of this machine become absolute.

        Args:
            values: typed values, from a file or from Python.
            texts: values of a command line, which win.
            here: the steps will run on this machine, and not on a cluster.

        Raises:
            SettingsError: a name is unknown, a value is of another type or impossible, one is missing, or
                names a path of this machine that the steps cannot read.
            DataError, ModelError: a file that a value names is missing or can't be used.
        """
        arguments = resolve(self.parameters, values, texts)
        if arguments.get("code_version") == "":
            arguments["code_version"] = code_version()
        arguments |= {name: str(path) for name, path in self._local(arguments).items()}
        if not here:
            self.refuse_local_paths(arguments)
        self.check(arguments)
        if here:
            self.check_here(arguments)
        return arguments

    def refuse_local_paths(self, arguments: Mapping[str, Any]) -> None:
        """Raise SettingsError where an argument names a path of this machine, which no cluster can see."""
        for name, path in self._local(arguments).items():
            raise SettingsError(
                f"parameter {name} is {path}, a path of this machine, which the cluster cannot read; upload "
                "it and give its s3:// or http(s) address"
            )

    def _local(self, arguments: Mapping[str, Any]) -> dict[str, Path]:
        """The arguments that name a path of this machine, as absolute paths."""
        found = {}
        for name in sorted(self.paths | self.names):
            path = Path(arguments[name]).expanduser().absolute()
            if arguments[name] and "://" not in arguments[name] and (name in self.paths or path.exists()):
                found[name] = path
        return found


PIPELINES = {
    "shelf_detector": Pipeline(
        "shelf_detector",
        shelf_detector.shelf_detector,
        frozenset({"source", "feedback"}),
        frozenset({"weights", "hyp"}),
        shelf_detector.check,
        shelf_detector.check_here,
    ),
    "bin_counter": Pipeline(
        "bin_counter",
        bin_counter.bin_counter,
        frozenset({"source"}),
        frozenset({"weights"}),
        bin_steps.check,
        bin_steps.check_here,
    ),
    "bin_search": Pipeline(
        "bin_search",
        bin_search.bin_search,
        frozenset({"source"}),
        frozenset({"weights", "space"}),
        bin_search.check,
        bin_search.check_here,
    ),
}


def find(name: str) -> Pipeline:
    """Return the pipeline of that name; `-` and `_` are one.

    Raises:
        SettingsError: there is none.
    """
    pipeline = PIPELINES.get(name.replace("-", "_"))
    if pipeline is None:
        close = difflib.get_close_matches(name, PIPELINES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise SettingsError(f"there is no pipeline {name}: {meant}The pipelines are {', '.join(PIPELINES)}")
    return pipeline

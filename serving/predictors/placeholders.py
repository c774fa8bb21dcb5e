"""Keeps packages from being loaded that KServe imports for what a predictor never does.

KServe (0.21) imports pandas to make data frames of requests, and the Kubernetes client and requests to apply
InferenceServices and wait for them. They are half of the memory of its import and half of its time.
"""

import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

UNUSED = frozenset({"pandas", "kubernetes", "requests"})


class Placeholder(ModuleType):
    """A module for annotations and `isinstance`: whatever has the name of a class is one, without objects."""

    def __getattr__(self, name: str) -> Any:
        if not name[:1].isupper():  # a module below it, or a function, whose caller had better fail at once
            raise AttributeError(f"{self.__name__}.{name} is not here: predictors do without {self.__name__}")
        return type(name, (), {"__module__": self.__name__})


class PlaceholderFinder(MetaPathFinder, Loader):
    """Finds placeholders for the unused packages and all modules below them."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The placeholder's specification, or None for a package that is used."""
        if fullname.partition(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty one."""
        return Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


@contextmanager
def placeholders() -> Iterator[None]:
    """What is imported in this block gets placeholders for unused packages; what comes later, those packages.

    One that has been imported before is left as it is.
    """
    finder = PlaceholderFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            if isinstance(module, Placeholder):
                del sys.modules[name]

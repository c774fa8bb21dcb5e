"""What the simulation rests on: the parameters of parameters.yaml, and what docs/performance.md measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import yaml

from stocktake.errors import DataError, SettingsError

FILE = Path(__file__).with_name("parameters.yaml")
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"
MODEL = "shelf-detector"
Z99 = 2.326  # standard deviations from the median of a normal distribution to its 99th percentile


class Parameters:
    """Groups of named values: `parameters.day.shops`. Units and sources are in parameters.yaml."""

    day: SimpleNamespace
    client: SimpleNamespace
    predictor: SimpleNamespace
    gpu: SimpleNamespace
    nodes: SimpleNamespace
    autoscaler: SimpleNamespace
    knative: SimpleNamespace

    def __init__(self, changes: Sequence[str] = ()):
        """Read the file.

        Args:
            changes: `group.name=number`, in place of what the file says.

        Raises:
            SettingsError: no such name, or not a number.
        """
        self._described: dict[str, dict[str, list[Any]]] = yaml.safe_load(FILE.read_text())
        for change in changes:
            self._change(change)
        for group, names in self._described.items():
            setattr(self, group, SimpleNamespace(**{name: about[0] for name, about in names.items()}))

    def rows(self) -> Iterator[dict[str, object]]:
        """Of the table in the docs."""
        for group, names in self._described.items():
            for name, (value, unit, source) in names.items():
                yield {"parameter": f"{group}.{name}", "value": f"{value:g}", "unit": unit, "from": source}

    def _change(self, change: str) -> None:
        name, _, value = change.partition("=")
        group, _, name = name.partition(".")
        if name not in self._described.get(group, {}):
            raise SettingsError(f"--set {change}: no such parameter; {FILE.name} has them all")
        try:
            number = float(value)
        except ValueError as error:
            raise SettingsError(f"--set {change}: {value!r} is not a number") from error
        if not math.isfinite(number):
            raise SettingsError(f"--set {change}: give a finite number")
        about = self._described[group][name]
        about[0] = type(about[0])(number)
        about[2] = "--set"


@dataclass(frozen=True)
class Measured:
    """The detector on two cores, as the page has it.

    Attributes:
        alone_s: from request to answer, one client; median.
        photos_per_s: of eight clients.
        sigma: of the logarithm of the service time, from median and 99th percentile of one client.
        decode_s: of one photo on one core; the median of all precisions, since they do not matter to it.
        interpret_s: likewise.
        cold_start_s: from the start of the process to the first right answer.
    """

    alone_s: float
    photos_per_s: float
    sigma: float
    decode_s: float
    interpret_s: float
    cold_start_s: float


def measured(page: Path = PERFORMANCE, precision: str = "int8") -> Measured:
    """Read the results of the detector.

    Raises:
        DataError: the page does not have them as `benchmarks.serving.report` writes them.
    """
    _, _, text = page.read_text().partition(f"### {MODEL}")
    row = _find(page, text, rf"\| ours {precision} \| [^;]+; (\d+)/(\d+) ms \| ([\d.]+)/s;")
    p50, p99, rate = (float(number) for number in row)
    stages = re.findall(r"decode ([\d.]+), model [\d.]+, interpret ([\d.]+) ms", text.partition("### ")[0])
    if not stages:
        raise DataError(f"{page}: has no line of stages under {MODEL}; write it by benchmarks.serving.report")
    return Measured(
        alone_s=p50 / 1000,
        photos_per_s=rate,
        sigma=math.log(p99 / p50) / Z99,
        decode_s=median(float(decode) for decode, _ in stages) / 1000,
        interpret_s=median(float(interpret) for _, interpret in stages) / 1000,
        cold_start_s=float(_find(page, text, rf"\| {MODEL}, ours \| ([\d.]+) s \|")[0]),
    )


def _find(page: Path, text: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    if not found:
        raise DataError(
            f"{page}: has nothing like {pattern!r} under {MODEL}; write it by benchmarks.serving.report"
        )
    return found.groups()

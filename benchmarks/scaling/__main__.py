"""A day of 1,000 shops at the predictors, under several autoscalers.

    python -m benchmarks.scaling --into docs/scaling.md
    python -m benchmarks.scaling --set day.shops=200 --set gpu.photo_ms=0.3

Simulated, not run: see docs/scaling.md for what that leaves out. Takes minutes on one core; the same seed
gives the same figures. Results are kept in --work, from where `benchmarks.scaling.report` writes the page
anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.scaling import report
from benchmarks.scaling.arrivals import day
from benchmarks.scaling.parameters import Parameters, measured
from benchmarks.scaling.scenarios import DEVICES, Section, sections
from stocktake.errors import StocktakeError

HOURS = 24


def main() -> None:
    """Simulate, keep the results, print or write them."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/scaling"), help="(default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a page with the two marks of benchmarks.serving.report")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="GROUP.NAME=NUMBER")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args()
    try:
        results = simulate(sections(), options.changes, options.seed)
    except StocktakeError as error:
        raise SystemExit(str(error)) from error
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / report.RESULTS).write_text(json.dumps(results))
    report.write(results, options.into)


def simulate(compared: tuple[Section, ...], changes: list[str], seed: int) -> dict[str, Any]:
    """All rows of all sections, as `report` takes them. Raises SettingsError, DataError."""
    rows = sum(len(section.scenarios) for section in compared)
    with tqdm(total=rows * HOURS, unit="h", desc="simulated") as bar:
        return {
            "seed": seed,
            "changes": changes,
            "parameters": list(Parameters(changes).rows()),
            "sections": [_section(section, changes, seed, bar) for section in compared],
        }


def _section(section: Section, changes: list[str], seed: int, bar: Any) -> dict[str, Any]:
    asked = [*section.changes, *changes]
    rows: list[dict[str, Any]] = []
    arrivals, of = np.empty(0), ""
    for scenario in section.scenarios:
        parameters = Parameters([*asked, *scenario.changes])
        if of != repr(parameters.day):
            arrivals, of = day(parameters, seed), repr(parameters.day)
        result = scenario.run(section.device, arrivals.tolist(), asked, seed, bar.update)
        pod, start_s = DEVICES[section.device](parameters, measured())
        rows.append(
            {
                "name": scenario.name,
                "photos": result.photos,
                "p50_s": result.percentile(50),
                "p99_s": result.percentile(99),
                "within_1s": result.within(1),
                "refusals": result.refusals,
                "gave_up": result.gave_up,
                "lost": result.late + result.killed,
                "device_h": result.device_h,
                "least_h": result.photos / pod.photos_per_s / 3600,
                "busiest": int(result.samples[:, 1].max()),
                "photos_per_s": pod.photos_per_s,
                "start_s": start_s,
                "minutes": _minutes(result.first, result.samples),
            }
        )
    return {"title": section.title, "device": section.device, "changes": section.changes, "rows": rows}


def _minutes(first: Any, samples: Any) -> dict[str, list[float]]:
    """For the plot: photos per second, and pods that are ready, each minute."""
    photos = np.histogram(first, np.append(samples[:, 0], samples[-1, 0] + 60))[0] / 60
    return {"h": (samples[:, 0] / 3600).tolist(), "photos": photos.tolist(), "ready": samples[:, 1].tolist()}


if __name__ == "__main__":
    main()

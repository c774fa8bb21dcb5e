"""What a load has done, as markdown and as a plot."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gateway.samples import FIELDS
from benchmarks.serving.memory import slope
from stocktake.markdown import table

SETTLED_S = 60  # of memory: before, caches fill
PERCENTILES = ("50%", "95%", "99%")

Columns = dict[str, NDArray[np.float64]]


def write_report(out: Path, about: dict[str, Any], drained_s: float | None, left: dict[str, float]) -> str:
    """Write report.md and load.png into the folder of a load; returns the text."""
    samples, failures = _columns(out / "samples.csv"), _failures(out)
    drained = f"not within the time; {left} are left" if drained_s is None else f"after {drained_s:.0f} s"
    text = "\n\n".join(
        [
            "# Load on the gateway",
            ", ".join(f"{name}: {value}" for name, value in about.items()),
            "![Rate, latency, queue and memory](load.png)",
            table(_requests(out)),
            table(failures) if failures else "No request has failed.",
            _jobs(out),
            f"At most {np.nanmax(samples['queue']):.0f} photos in the queue; all were over {drained} of the "
            f"end. Given up: {left.get('dead', 0):.0f}.",
            table(_memory(samples)),
        ]
    )
    (out / "report.md").write_text(f"{text}\n")
    _plot(out, samples)
    return text


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _columns(path: Path) -> Columns:
    """(n,) of each column; what is not a number, or is missing, is NaN."""

    def number(text: str) -> float:
        return float(text) if text not in ("", "N/A") else np.nan

    rows = _rows(path)
    if not rows:
        return {}
    return {
        name: np.array([number(row[name]) for row in rows])
        for name in rows[0]
        if name not in ("Type", "Name")
    }


def _requests(out: Path) -> list[dict[str, Any]]:
    return [
        {
            "request": f"{row['Type']} {row['Name']}".strip(),
            "requests": row["Request Count"],
            "failed": row["Failure Count"],
            "a second": f"{float(row['Requests/s']):.2f}",
            **{f"p{percent[:-1]}, ms": row[percent] for percent in PERCENTILES},
        }
        for row in _rows(out / "locust_stats.csv")
    ]


def _jobs(out: Path) -> str:
    seconds = _columns(out / "jobs.csv").get("seconds", np.zeros(0))
    if not len(seconds):
        return "No job was followed to its end."
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
    return (
        f"{len(seconds)} jobs were followed; all photos of one were answered after {p50:.1f} s (p50), "
        f"{p95:.1f} s (p95), {p99:.1f} s (p99)."
    )


def _failures(out: Path) -> list[dict[str, Any]]:
    return [
        {"failed": f"{row['Method']} {row['Name']}", "how": row["Error"], "times": row["Occurrences"]}
        for row in _rows(out / "locust_failures.csv")
    ]


def _memory(samples: Columns) -> list[dict[str, Any]]:
    """Of the time in which caches were full; a line is put through 60 samples or more."""
    rows = []
    settled = samples["seconds"] > SETTLED_S
    for name in samples.keys() - set(FIELDS):
        known = settled & ~np.isnan(samples[name])
        memory = samples[name][known]
        row = {"process": name, "most, MB": f"{np.nanmax(samples[name]) / 1e6:.0f}"}
        if len(memory) >= 60:
            line = slope(samples["seconds"][known], memory)
            row |= {"grows by": str(line), "": "grows" if line.grows else "stays"}
        rows.append(row)
    return sorted(rows, key=lambda row: str(row["process"]))


def _plot(out: Path, samples: Columns) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = [row for row in _rows(out / "locust_stats_history.csv") if row["Name"] == "Aggregated"]
    start = float(history[0]["Timestamp"])
    minutes = [(float(row["Timestamp"]) - start) / 60 for row in history]
    figure, (rate, latency, queue, memory) = plt.subplots(
        4, 1, figsize=(9, 11), sharex=True, layout="constrained"
    )
    for name, label in (("Requests/s", "requests"), ("Failures/s", "failed")):
        rate.plot(minutes, [float(row[name]) for row in history], label=label)
    rate.set_ylabel("a second")
    for percent in PERCENTILES:
        values = [np.nan if row[percent] == "N/A" else float(row[percent]) for row in history]
        latency.plot(minutes, values, label=f"p{percent[:-1]}")
    jobs = _columns(out / "jobs.csv")
    if jobs:
        when = (jobs["time"] - start) / 60
        latency.plot(when, jobs["seconds"] * 1000, ".", label="a whole job")
    latency.set_ylabel("ms until answered")
    latency.set_yscale("log")
    for name in ("queue", "unfinished"):
        queue.plot(samples["seconds"] / 60, samples[name], label=name)
    queue.set_ylabel("photos")
    for name in sorted(samples.keys() - set(FIELDS)):
        memory.plot(samples["seconds"] / 60, samples[name] / 1e6, label=name)
    memory.set_ylabel("memory, MB")
    memory.set_xlabel("minutes")
    for axes in (rate, latency, queue, memory):
        axes.legend(bbox_to_anchor=(1, 1), loc="upper left", fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(out / "load.png", dpi=100)
    plt.close(figure)

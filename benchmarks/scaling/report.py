"""What was simulated as markdown and as a plot.

python -m benchmarks.scaling.report --work runs/scaling --into docs/scaling.md
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.scaling.scenarios import ADVISED
from benchmarks.serving.report import BEGIN, END
from stocktake.markdown import table

RESULTS = "results.json"
PLOT = "scaling.png"
FAMILIES = ("KEDA", "fixed", "HPA", "Knative")


def main() -> None:
    """Print, or write into a page."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/scaling"), help="(default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a page with the two marks of benchmarks.serving.report")
    options = parser.parse_args()
    write(json.loads((options.work / RESULTS).read_text()), options.into)


def write(results: dict[str, Any], page: Path | None) -> None:
    """Print, or put between the two marks of a page; then the plot goes into its img/."""
    if page is None:
        print(markdown(results))
        return
    before, _, rest = page.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page}: has no {BEGIN} followed by {END}")
    plot = write_plot(results, page.parent / "img" / PLOT)
    content = f"{markdown(results)}\n![Latency against pod hours, and a day](img/{plot.name})\n"
    page.write_text(f"{before}{BEGIN}\n{content}{END}{after}")


def markdown(results: dict[str, Any]) -> str:
    """All tables, then the parameters."""
    changed = f" Changed: {', '.join(results['changes'])}." if results["changes"] else ""
    parts = [f"Simulated with seed {results['seed']}.{changed}"]
    for section in results["sections"]:
        parts += [
            f"### {section['title']}",
            _about(section),
            table([_row(row, section["device"]) for row in section["rows"]]),
        ]
    return "\n\n".join([*parts, "### Parameters", table(results["parameters"])]) + "\n"


def write_plot(results: dict[str, Any], path: Path) -> Path:
    """Latency against hours for all tables but the last, and a day of the advised setting. Returns `path`."""
    from stocktake.report import PALETTE, new_figure, title_axes

    shown = results["sections"][:3]
    figure, axes = new_figure(15.5, 8.2, columns=len(shown), rows=2)
    for number, section in enumerate(shown):
        _trade_off(axes[number], section, PALETTE)
        title_axes(axes[number], section["title"])
        row = next(row for row in section["rows"] if row["name"] == ADVISED[section["device"]])
        below = axes[len(shown) + number]
        minutes = row["minutes"]
        below.plot(minutes["h"], minutes["photos"], color="#98a2b3", lw=0.7, label="photos per second")
        capacity = [pods * row["photos_per_s"] for pods in minutes["ready"]]
        below.step(
            minutes["h"], capacity, where="post", color=PALETTE[0], lw=1.1, label="ready pods could answer"
        )
        below.set(xlim=(5, 23), xlabel="hour of the day", ylabel="photos per second")
        below.legend(fontsize=8, frameon=False, loc="upper left")
        below.set_ylim(0, 1.25 * max(*capacity, *minutes["photos"]))
        title_axes(below, row["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches="tight")
    return path


def _trade_off(axes: Any, section: dict[str, Any], palette: Any) -> None:
    axes.axvline(section["rows"][0]["least_h"], color="#344054", lw=1, ls=":", label="the work alone")
    for colour, family in zip(palette, FAMILIES, strict=False):
        rows = [row for row in section["rows"] if row["name"].startswith(family)]
        seconds = [min(row["p99_s"], 60) for row in rows]
        axes.scatter([row["device_h"] for row in rows], seconds, color=colour, s=34, label=family, zorder=3)
        for row, at in zip(rows, seconds, strict=True):
            short = row["name"].removeprefix(f"{family}, ").removesuffix(", from 0")
            short = short.replace(" in flight", "").replace("concurrency ", "").replace(" of CPU", "")
            axes.annotate(short, (row["device_h"], at), (4, 4), textcoords="offset points", fontsize=7.5)
    axes.set(
        yscale="log", ylim=(0.03, 90), xlim=(0, None), xlabel=f"{section['device'].upper()} pod hours a day"
    )
    axes.set_ylabel("p99 latency in s; 60 = one in a hundred gave up")
    axes.legend(fontsize=8, frameon=False, loc="center left")


def _about(section: dict[str, Any]) -> str:
    first = section["rows"][0]
    changes = (
        f" Here {', '.join(f'`{change}`' for change in section['changes'])}." if section["changes"] else ""
    )
    return (
        f"{first['photos']:,} photos, {first['photos_per_s']:.1f}/s at most per pod, which starts in"
        f" {first['start_s']:.0f} s.{changes} The work alone, no pod ever idle: {first['least_h']:.1f} h."
    )


def _row(row: dict[str, Any], device: str) -> dict[str, object]:
    advised = " (advised)" if row["name"] == ADVISED[device] else ""
    return {
        "policy": row["name"] + advised,
        "p50": _seconds(row["p50_s"]),
        "p99": _seconds(row["p99_s"]),
        "in 1 s": f"{row['within_1s']:.2%}",
        "429, 503 per 1,000": f"{1000 * row['refusals'] / row['photos']:.1f}",
        "given up": f"{row['gave_up']:,}",
        "pod hours": f"{row['device_h']:.1f}",
        "of them work": f"{row['least_h'] / row['device_h']:.0%}",
        "most pods": row["busiest"],
    }


def _seconds(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    main()

"""What was measured as markdown and as a plot.

    python -m benchmarks.serving.report --work runs/serving
    python -m benchmarks.serving.report --work runs/serving --into docs/performance.md

Takes results.json, which `compare` writes, and what the other benchmarks of this folder have left beside it.
With --into, what stands between the two marks of that page is replaced, and the plot goes into its img/.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.serving.ratios import ratios
from stocktake.markdown import table

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
PLOT = "performance.png"
MACHINE = ("cpu", "cores", "memory_gb", "load_before")  # the rest of what is known of it are versions


def main() -> None:
    """Print, or write into a page."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a page with the two marks")
    options = parser.parse_args()
    results = json.loads((options.work / "results.json").read_text())
    others = {path.stem: json.loads(path.read_text()) for path in sorted(options.work.glob("*.json"))}
    others.pop("results")
    if not options.into:
        print(markdown(results, others))
        return
    page = options.into.read_text()
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{options.into}: has no {BEGIN} followed by {END}")
    plot = write_plot(results, options.into.parent / "img" / PLOT)
    content = f"{markdown(results, others)}\n![Requests per second](img/{plot.name})\n"
    options.into.write_text(f"{before}{BEGIN}\n{content}{END}{after}")


def markdown(results: dict[str, Any], others: dict[str, Any]) -> str:
    """Everything, section by section."""
    parts = [_conditions(results)]
    for model, found in results["models"].items():
        parts += [f"### {model}", _about(found), table(list(_speeds(found)))]
        if found["open"]:
            parts.append(table(list(_open_points(found))))
        parts.append(table([_row(ratio) for ratio in ratios(found)]))
        if found["skipped"]:
            parts.append(
                "Not measured:\n" + "\n".join(f"- {n}: {why}" for n, why in found["skipped"].items())
            )
    for name, rows in others.items():
        parts += [f"### {name.replace('_', ' ').capitalize()}", str(rows["text"]), table(rows["rows"])]
    return "\n\n".join(parts) + "\n"


def ratio_table(results: dict[str, Any]) -> str:
    """The ratios of all models, aligned for a terminal."""
    lines = []
    for model, found in results["models"].items():
        lines.append(model)
        for ratio in ratios(found):
            goal = (
                ""
                if ratio.goal is None
                else f"goal {'<=' if ratio.at_most else '>='} {ratio.goal:g} {ratio.met}"
            )
            lines.append(f"  {ratio.value:6.2f}  ({ratio.low:.2f} to {ratio.high:.2f})  {ratio.what}  {goal}")
    return "\n".join(lines)


def write_plot(results: dict[str, Any], path: Path) -> Path:
    """Requests per second of every server at its best, beside the limits. Returns `path`."""
    from stocktake.report import PALETTE, new_figure, title_axes

    models = results["models"]
    figure, axes = new_figure(5.6 * len(models), 5.2, columns=len(models))
    for each, (model, found) in zip(axes, models.items(), strict=True):
        bars = sorted(((_best(points), name) for name, points in found["servers"].items()))
        colours = [PALETTE[0] if name.startswith("ours") else "#98a2b3" for _, name in bars]
        each.barh([name for _, name in bars], [rps for rps, _ in bars], color=colours)
        for precision, limits in found["limit"].items():
            bound = max(limit["rps"] for limit in limits)
            each.axvline(bound, color="#344054", lw=1, ls=":")
            each.annotate(f"limit {precision}", (bound, 0), rotation=90, fontsize=7, ha="right", va="bottom")
        title_axes(each, f"{model}: requests per second")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return path


def _conditions(results: dict[str, Any]) -> str:
    machine, options = results["machine"], results["options"]
    libraries = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in MACHINE)
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB,"
        f" load {machine['load_before']:.1f} before the run; {libraries}."
        f" {options['rounds']} rounds in turn, {options['seconds']:g} s for each closed loop,"
        f" {options['open_seconds']:g} s for each open one. Client and servers share the cores."
    )


def _about(found: dict[str, Any]) -> str:
    stages = {p: limits[0]["stages_ms"] for p, limits in found["limit"].items() if limits}
    times = "; ".join(
        f"{precision}: decode {ms['decode']:.1f}, model {ms['infer']:.1f}, interpret {ms['interpret']:.1f} ms"
        for precision, ms in stages.items()
    )
    figures = Counter(figure for figure in found["figures"].values() if figure is not None)
    first = ", ".join(f"{figure} by {servers} servers" for figure, servers in figures.items())
    return (
        f"{found['photos']} photos of {found['photo_kb']} KB on average."
        f" Served by default: {found['default']}. The bare call, on all cores: {times}."
        f" Found on the first photo: {first}."
    )


def _speeds(found: dict[str, Any]) -> Iterator[dict[str, object]]:
    for precision, limits in found["limit"].items():
        best = max(limits, key=lambda limit: limit["rps"])
        yield {"server": f"limit {precision}, {best['best']}", **{
            f"c={c}": f"{best['rps']:.1f}/s" for c in _concurrencies(found)
        }}  # fmt: skip
    for name, points in found["servers"].items():
        yield {"server": name, **{f"c={c}": _point(rounds) for c, rounds in points.items()}}


def _open_points(found: dict[str, Any]) -> Iterator[dict[str, object]]:
    for name, shares in found["open"].items():
        for share, point in shares.items():
            yield {
                "open loop": f"{name} at {float(share):.0%} of saturation",
                "requests": point["requests"],
                "p50, ms": f"{point['p50']:.0f}",
                "p99, ms": f"{point['p99']:.0f}",
                "p99 of the ideal queue, ms": f"{point['ideal_p99']:.0f}",
                "of lanes alone, ms": f"{point['lanes_p99']:.0f}",
            }


def _row(ratio: Any) -> dict[str, object]:
    sign = "at most" if ratio.at_most else "at least"
    return {
        "ratio": ratio.what,
        "median": f"{ratio.value:.2f}",
        "rounds": f"{ratio.low:.2f} to {ratio.high:.2f}",
        "goal": "" if ratio.goal is None else f"{sign} {ratio.goal:g}",
        "met": ratio.met,
    }


def _concurrencies(found: dict[str, Any]) -> list[str]:
    return list(next(iter(found["servers"].values())))


def _point(rounds: list[dict[str, Any]]) -> str:
    if not rounds:
        return ""
    middle = sorted(rounds, key=lambda summary: summary["rps"])[len(rounds) // 2]
    return f"{middle['rps']:.1f}/s; {middle['p50']:.0f}/{middle['p99']:.0f} ms"


def _best(points: dict[str, list[dict[str, Any]]]) -> float:
    return max((summary["rps"] for rounds in points.values() for summary in rounds), default=0.0)


if __name__ == "__main__":
    main()

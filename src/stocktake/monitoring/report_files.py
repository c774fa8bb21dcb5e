"""The files of a watched training: report.html, rules.json and profiler-reports/<Rule>.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stocktake import tracking
from stocktake.files import atomic_path
from stocktake.monitoring import figures
from stocktake.monitoring.presets import PRESETS
from stocktake.monitoring.profiler_rules import ProfilerReport
from stocktake.monitoring.recording import Recording
from stocktake.monitoring.results import RuleResult, State, plain, summary
from stocktake.report import Report, Tile

TONES: Mapping[State, Any] = {State.ISSUES: "bad", State.NO_ISSUES: "good"}


def write_report(seen: Recording, results: list[RuleResult], preset: str, out_dir: Path) -> Path:
    """Write all files into `out_dir`, making it if needed; return the path of report.html."""
    members = answers_of_members(seen, preset)
    rules = {"preset": preset, "summary": summary(results), "rules": [result.as_json() for result in results]}
    _write_json(out_dir / "rules.json", rules)
    for member in members:
        _write_json(out_dir / "profiler-reports" / f"{member.rule}.json", member.as_profiler_report())
    return rules_report(seen, results, members, preset).write(out_dir / "report.html")


def log_report(out_dir: Path) -> None:
    """Put the files of `write_report` into the open run of MLflow as rules/, the states into its tags."""
    rules = json.loads((out_dir / "rules.json").read_text())["rules"]
    tracking.log_artifacts(out_dir, "rules")
    tracking.set_tags({f"rule.{result['rule']}": result["state"] for result in rules})


def answers_of_members(seen: Recording, preset: str) -> list[RuleResult]:
    """The answers of the members of the profiler report."""
    reports = [rule for rule in PRESETS[preset] if isinstance(rule, ProfilerReport)]
    return [answer for report in reports for answer in report.check_members(seen)]


def rules_report(
    seen: Recording, results: list[RuleResult], members: list[RuleResult], preset: str
) -> Report:
    """The page: answers first, then what they rest on."""
    fired = [result.rule for result in results if result.fired]
    report = Report("Training rules", _facts(seen, preset), _headline(fired))
    report.tiles(
        Tile(result.rule, _short(result.state), result.where, TONES.get(result.state, "plain"))
        for result in results
    )
    _answers(report, results)
    _losses(report, seen)
    _step_times(report, seen)
    _machine(report, seen)
    report.section("Profiler report", "The members of ProfilerReport; each also has a JSON file.")
    _answer_table(report, members)
    report.section(
        "Parameters", f"The preset '{preset}'; docs/training-rules.md says why each is what it is."
    )
    return report.table(["rule", "parameters"], [(r.rule, _parameters(r)) for r in (*results[:-1], *members)])


def _facts(seen: Recording, preset: str) -> dict[str, object]:
    return {
        "Epochs": len(seen.epochs),
        "Steps": len(seen.steps.step),
        "Device": seen.device,
        "Optimizer": seen.optimizer or "–",
        "Tensors trained": len(seen.gradients.names),
        "Looks at gradients": len(seen.gradients.step),
        "Samples of the machine": len(seen.samples.cpu),
        "Parameters": preset,
    }


def _headline(fired: list[str]) -> str:
    return f"Issues found by {', '.join(fired)}." if fired else "No rule found an issue."


def _short(state: State) -> str:
    return {
        State.ISSUES: "issues",
        State.NO_ISSUES: "fine",
        State.INSUFFICIENT: "too short",
        State.NOT_EVALUATED: "n/a",
    }[state]


def _answers(report: Report, results: list[RuleResult]) -> None:
    report.section("Rules", "What each rule found, where it first did so, and how often its condition held.")
    _answer_table(report, results)


def _answer_table(report: Report, results: list[RuleResult]) -> None:
    rows = [(r.rule, r.state.value, r.where or "–", r.reason, r.violations, r.datapoints) for r in results]
    marked = [number for number, result in enumerate(results) if result.fired]
    header = ["rule", "state", "where", "finding", "violations", "datapoints"]
    report.table(header, rows, "Highlighted: issues were found.", highlight=marked)


def _losses(report: Report, seen: Recording) -> None:
    if len(seen.steps.loss):
        report.section("Loss and gradients")
        report.figure(figures.loss_figure(seen), "Loss per step with its moving mean, and per epoch.")
    if seen.gradients.mean_abs:
        caption = "Mean |gradient| of the weights: smallest, median and largest of all tensors, by step."
        report.figure(figures.gradient_figure(seen), caption)


def _step_times(report: Report, seen: Recording) -> None:
    timed = [epoch for epoch in seen.epochs if epoch.steps]
    report.section("Where the time of a step goes")
    if not timed:
        report.note("No step was timed: the run was too short.")
    else:
        caption = "Mean of the steps of each epoch, without its first and without steps that were traced."
        report.figure(figures.step_time_figure(timed), caption)
    if seen.operators:
        total = {
            "cpu": sum(o.cpu_ms for o in seen.operators),
            "device": sum(o.device_ms for o in seen.operators),
        }
        rows = [(o.name, o.calls, o.cpu_ms, o.device_ms) for o in seen.operators]
        caption = (
            f"The dearest operators of {seen.traced_steps} traced steps, each without those that it calls;"
            f" together {total['cpu']:.0f} ms on the CPU and {total['device']:.0f} ms on the device."
        )
        report.table(["operator", "calls", "CPU, ms", "device, ms"], rows, caption)
    else:
        report.note("No step was traced with torch.profiler.")


def _machine(report: Report, seen: Recording) -> None:
    report.section("The machine")
    if not len(seen.samples.cpu):
        report.note("The machine was not sampled.")
        return
    if not seen.samples.gpus:
        report.note(f"No GPU: {seen.samples.why_no_gpu}.")
    caption = f"{len(seen.samples.cpu)} samples, {seen.samples.hz:g} in a second."
    report.figure(figures.machine_figure(seen.samples), caption)


def _parameters(result: RuleResult) -> str:
    return ", ".join(f"{name} {value}" for name, value in result.parameters.items()) or "–"


def _write_json(path: Path, content: Any) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(plain(content), indent=2) + "\n")

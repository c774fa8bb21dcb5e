"""What a watched training leaves in its run's folder: recording.json, rules.txt and the report in rules/."""

from html import escape
from pathlib import Path
from typing import Any

from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.monitor_settings import MonitorSettings
from stocktake.monitoring.results import summary

RECORDING_FILE = "recording.json"
SUMMARY_FILE = "rules.txt"
REPORT_FOLDER = "rules"


def rank_monitor(
    rules: dict[str, Any] | None, is_first: bool, monitor: TrainingMonitor | None
) -> TrainingMonitor | None:
    """The first rank's monitor: the one at hand, or one of settings that came as JSON; None for others."""
    if not is_first:
        return None
    return TrainingMonitor(MonitorSettings(**rules)) if rules else monitor


def leave_answers(monitor: TrainingMonitor, run_dir: Path) -> None:
    """Write the rules' answers and their report."""
    (run_dir / SUMMARY_FILE).write_text(summary(monitor.finish()) + "\n")
    monitor.write_report(run_dir / REPORT_FOLDER)


def read_summary(run_dir: Path) -> str:
    """A line for each rule, as a run has left them; '' where nobody watched."""
    path = run_dir / SUMMARY_FILE
    return path.read_text().rstrip("\n") if path.is_file() else ""


def read_page(run_dir: Path) -> str:
    """The report as a page; where it has not come with the run's other files, the lines alone."""
    path = run_dir / REPORT_FOLDER / "report.html"
    if path.is_file():
        return path.read_text("utf-8")
    return f"<!doctype html><html><body><pre>{escape(read_summary(run_dir))}</pre></body></html>\n"


def log_answers(run_dir: Path) -> None:
    """Put what a run has left, if anything, into the open run of MLflow."""
    from stocktake.monitoring.report_files import log_report

    if (run_dir / REPORT_FOLDER).is_dir():
        log_report(run_dir / REPORT_FOLDER)

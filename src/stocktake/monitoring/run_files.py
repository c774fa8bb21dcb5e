"""What a watched training leaves in its run's folder: recording.json, rules.txt and the report in rules/."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.monitor_settings import MonitorSettings
from stocktake.monitoring.recording import Recording
from stocktake.monitoring.results import summary

log = logging.getLogger(__name__)

RECORDING_FILE = "recording.json"
SUMMARY_FILE = "rules.txt"
REPORT_FOLDER = "rules"
ANSWERS_FILE = f"{REPORT_FOLDER}/rules.json"


def rank_monitor(
    rules: dict[str, Any] | None, is_first: bool, monitor: TrainingMonitor | None
) -> TrainingMonitor | None:
    """The first rank's monitor: the one at hand, or one of settings that came as JSON; None for others."""
    if not is_first:
        return None
    return TrainingMonitor(MonitorSettings(**rules)) if rules else monitor


def rules_identity(monitor: TrainingMonitor | None) -> dict[str, Any]:
    """What the rules decide of the weights: which of them end the run, by whose parameters; {} if none."""
    if monitor is None or not monitor.settings.stop_on:
        return {}
    return {"stop_on": sorted(monitor.settings.stop_on), "rules": monitor.settings.preset}


@contextmanager
def and_then(action: Callable[[], object]) -> Iterator[None]:
    """Do something after the block, also after one that fails, whose error is the one that is raised."""
    try:
        yield
    except BaseException:
        try:
            action()
        except Exception as error:
            log.warning("the report of the training rules is lost: %s", error)
        raise
    action()


def leave_answers(monitor: TrainingMonitor | None, run_dir: Path) -> None:
    """Write the rules' answers and their report, if anyone watched."""
    if monitor is None:
        return
    (run_dir / SUMMARY_FILE).write_text(summary(monitor.finish()) + "\n")
    monitor.write_report(run_dir / REPORT_FOLDER)


def judge_again(monitor: TrainingMonitor | None, run_dir: Path, is_measured: bool = True) -> None:
    """Judge what a run has recorded, and put the answers into the open run of MLflow.

    Where the run `is_measured`, answers of the same preset are taken as they are; before that they may be
    those of an earlier stop.

    Raises:
        DataError: the recording is something else.
    """
    if monitor is None or not (run_dir / RECORDING_FILE).is_file():
        return
    answers = run_dir / ANSWERS_FILE
    is_known = answers.is_file() and json.loads(answers.read_text())["preset"] == monitor.settings.preset
    if is_known and is_measured:
        log_answers(run_dir)
        return
    monitor.recording = Recording.read(run_dir / RECORDING_FILE)
    leave_answers(monitor, run_dir)
    log_answers(run_dir)


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

    if (run_dir / ANSWERS_FILE).is_file():
        log_report(run_dir / REPORT_FOLDER)

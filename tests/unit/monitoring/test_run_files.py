"""What a watched training leaves, also where it fails or is asked about again."""

import json
from pathlib import Path

import pytest

from stocktake.errors import ModelError
from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor
from stocktake.monitoring.run_files import (
    ANSWERS_FILE,
    RECORDING_FILE,
    REPORT_FOLDER,
    and_then,
    judge_again,
    leave_answers,
    read_summary,
    rules_identity,
)
from tests.recordings import with_losses


def test_only_rules_that_end_a_run_are_part_of_what_it_is() -> None:
    assert rules_identity(None) == rules_identity(TrainingMonitor(MonitorSettings("seed"))) == {}
    stopping = TrainingMonitor(MonitorSettings("seed", ("Overtraining", "Overfit")))
    assert rules_identity(stopping) == {"stop_on": ["Overfit", "Overtraining"], "rules": "seed"}


def test_a_report_that_cannot_be_written_hides_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / REPORT_FOLDER).touch()  # a file in the way of the folder
    monitor = TrainingMonitor()
    with pytest.raises(ModelError, match="nan"), and_then(lambda: leave_answers(monitor, tmp_path)):
        raise ModelError("the loss is nan")
    assert "the report of the training rules is lost" in caplog.text
    with pytest.raises(OSError, match=REPORT_FOLDER), and_then(lambda: leave_answers(monitor, tmp_path)):
        pass


def test_a_training_that_fails_leaves_its_report(tmp_path: Path) -> None:
    with pytest.raises(ModelError), and_then(lambda: leave_answers(TrainingMonitor(), tmp_path)):
        raise ModelError("the loss is nan")
    assert "Overfit: InsufficientData" in read_summary(tmp_path)
    assert (tmp_path / ANSWERS_FILE).is_file()


def test_another_preset_is_judged_from_the_recording(tmp_path: Path) -> None:
    answers = tmp_path / ANSWERS_FILE
    judge_again(TrainingMonitor(), tmp_path)
    assert not answers.exists()  # nobody watched

    seen = with_losses([1.0] * 200, [0.1] * 200)
    seen.write(tmp_path / RECORDING_FILE)
    judge_again(TrainingMonitor(), tmp_path)
    assert json.loads(answers.read_text())["preset"] == "ours"
    assert "LossNotDecreasing: IssuesFound" in read_summary(tmp_path)
    written = answers.stat().st_mtime_ns
    judge_again(TrainingMonitor(), tmp_path)
    judge_again(None, tmp_path)
    assert answers.stat().st_mtime_ns == written
    judge_again(TrainingMonitor(), tmp_path, is_measured=False)  # they may be those of an earlier stop
    assert answers.stat().st_mtime_ns > written
    judge_again(TrainingMonitor(MonitorSettings("seed")), tmp_path)
    assert json.loads(answers.read_text())["preset"] == "seed"

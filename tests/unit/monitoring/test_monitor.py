"""The monitor around small real trainings."""

import argparse
import gzip
import json
import math
from pathlib import Path

import mlflow
import pytest
import torch

from stocktake import tracking
from stocktake.errors import DataError, SettingsError
from stocktake.monitoring import observer
from stocktake.monitoring.monitor import MonitorSettings, State, TrainingMonitor, loss_of
from stocktake.monitoring.recording import Recording
from stocktake.monitoring.rule_flags import add_rule_flags, read_rules
from stocktake.monitoring.run_files import leave_answers, log_answers, rank_monitor, read_summary
from tests.watched import chain, two_moons, watch_training

QUICK = MonitorSettings(every=2, sample_hz=100, trace_at=12, trace_steps=2)
FILES = {"report.html", "rules.json", "profiler-reports", "trace.json.gz"}


@pytest.fixture(scope="module")
def watched() -> TrainingMonitor:
    torch.manual_seed(0)
    data, val = two_moons(256), two_moons(64, seed=1)
    return watch_training(chain([2, 16, 2]), data, val, epochs=3, settings=QUICK)


def train_epoch(monitor: TrainingMonitor, network: torch.nn.Module, epoch: int, steps: int) -> None:
    inputs, classes = two_moons(16, seed=epoch)
    for number in range(steps):
        loss = torch.nn.functional.cross_entropy(network(inputs), classes)
        loss.backward()
        monitor.step((epoch - 1) * steps + number, loss)
    monitor.epoch(epoch, {"train/loss": 1.0 / epoch, "val/loss": 1.0 / epoch})


class TestWhatIsRecorded:
    def test_every_step_and_every_epoch(self, watched: TrainingMonitor) -> None:
        watched.finish()
        seen = watched.recording
        assert list(seen.steps.step) == list(range(24))
        assert len(seen.steps.loss) == len(seen.steps.seconds) == 24
        assert [epoch.epoch for epoch in seen.epochs] == [1, 2, 3]
        assert all(epoch.train and epoch.val and epoch.train_eval for epoch in seen.epochs)
        assert [epoch.steps_so_far for epoch in seen.epochs] == [8, 16, 24]
        assert seen.device == "CPU"
        assert seen.optimizer == "AdamW"
        assert seen.loader_workers == 0
        assert seen.start_seconds is not None

    def test_gradients_at_every_other_step(self, watched: TrainingMonitor) -> None:
        seen = watched.recording
        assert list(seen.gradients.step) == list(range(0, 24, 2))
        assert all(len(row) == 4 and min(row) > 0 for row in seen.gradients.mean_abs)

    def test_the_first_ten_steps_in_detail(self, watched: TrainingMonitor) -> None:
        first = watched.recording.first_steps
        assert first.layers == ["0", "2"]
        assert len(first.variance) == len(first.spread) == 10
        assert first.identical == []

    def test_steps_unlike_the_others_have_no_time(self, watched: TrainingMonitor) -> None:
        timed = [
            step for step, seconds in enumerate(watched.recording.steps.seconds) if not math.isnan(seconds)
        ]
        # the first ten are looked at closely, the eleventh pays for it; 12 and 13 are traced, 14 pays for
        # that; 16 is the first of an epoch
        assert timed == [11, 15, *range(17, 24)]

    def test_phases_of_the_last_epoch(self, watched: TrainingMonitor) -> None:
        last = watched.recording.epochs[-1]
        assert last.steps == 7
        assert list(last.phases) == ["data wait", "forward", "backward", "optimizer", "monitor"]
        assert all(seconds > 0 for seconds in last.phases.values())

    def test_operators_of_two_steps(self, watched: TrainingMonitor) -> None:
        assert watched.recording.traced_steps == 2
        rows = watched.recording.operators
        assert rows == sorted(rows, key=lambda row: -row.cpu_ms)
        assert len(rows) == 15

    def test_nothing_is_left_on_the_model(self) -> None:
        network = chain([2, 4, 2])
        monitor = TrainingMonitor(MonitorSettings(sample_hz=0))
        monitor.start(network)
        monitor.finish()
        assert not network._forward_hooks
        assert not any(layer._forward_hooks for layer in network)

    def test_gradients_are_looked_at_less_and_less(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(observer, "LOOKS", 3)
        monitor = TrainingMonitor(MonitorSettings(every=1, sample_hz=0, trace_steps=0))
        network = chain([2, 4, 2])
        monitor.start(network)
        train_epoch(monitor, network, 1, 16)
        assert list(monitor.recording.gradients.step) == [0, 1, 2, 4, 6, 8, 12]

    def test_losses_may_be_numbers_or_tensors_and_gradients_scaled(self) -> None:
        network = chain([2, 4, 2])
        monitor = TrainingMonitor(MonitorSettings(every=1, sample_hz=0, trace_steps=0))
        monitor.start(network)
        inputs, classes = two_moons(16)
        for step, scale in enumerate((1.0, 1024.0)):
            network.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(inputs), classes)
            (loss * scale).backward()
            monitor.step(step, loss if step else loss.item(), (lambda: 1024.0) if step else scale)
        monitor.check()
        first, second = monitor.recording.gradients.mean_abs
        assert second == pytest.approx(first)
        assert monitor.recording.steps.loss[0] == pytest.approx(monitor.recording.steps.loss[1])


def test_an_answer_for_each_rule_in_the_middle_of_a_training(watched: TrainingMonitor) -> None:
    results = watched.check()
    assert len(results) == 7
    assert [result.rule for result in watched.check(("Overfit",))] == ["Overfit"]
    assert watched.finish() is watched.finish()


def test_a_training_that_never_began_leaves_answers_too(tmp_path: Path) -> None:
    monitor = TrainingMonitor(MonitorSettings(preset="seed"))
    leave_answers(monitor, tmp_path)
    assert {result.state for result in monitor.finish()} == {State.INSUFFICIENT, State.NOT_EVALUATED}
    assert "VanishingGradient: NotEvaluated (no tensor of the network is trained)" in read_summary(tmp_path)
    with pytest.raises(RuntimeError, match="start has not been called"):
        monitor.step(0, 1.0)


class TestKeptRecordings:
    def test_a_run_that_is_resumed_is_judged_as_a_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "recording.json"
        settings = MonitorSettings(every=1, sample_hz=0, trace_steps=0)
        network = chain([2, 4, 2])
        first = TrainingMonitor(settings)
        first.keep_in(path, 0)
        first.start(network)
        for epoch in (1, 2):
            train_epoch(first, network, epoch, 12)
        second = TrainingMonitor(settings)
        second.keep_in(path, 1)  # the second epoch's checkpoint was lost
        second.start(network)
        for epoch in (2, 3):
            train_epoch(second, network, epoch, 12)
        seen = Recording.read(path)
        assert list(seen.steps.step) == list(range(36))
        assert [epoch.epoch for epoch in seen.epochs] == [1, 2, 3]
        assert len(seen.first_steps.spread) == 10
        assert list(seen.gradients.step) == list(range(36))
        assert not network[0]._forward_hooks  # the first steps are over

    def test_a_run_that_starts_anew_ignores_what_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "recording.json"
        path.write_text("{}")
        monitor = TrainingMonitor()
        monitor.keep_in(path, 0)
        assert not monitor.recording.epochs
        with pytest.raises(DataError, match=r"recording\.json"):
            monitor.keep_in(path, 3)


@pytest.mark.parametrize(
    ("metrics", "loss"),
    [
        ({"val/loss": 2.0, "val/box_loss": 1.0}, 2.0),
        ({"val/box_loss": 1.0, "val/cls_loss": 0.5, "val/ap": 9.0, "train/box_loss": 9.0}, 1.5),
        ({"val/eval_loss": 9.0, "val/accuracy": 1.0}, None),
    ],
)
def test_a_loss_is_one_figure_or_the_sum_of_its_parts(metrics: dict[str, float], loss: float | None) -> None:
    assert loss_of(metrics, "val") == loss


@pytest.fixture(scope="module")
def folder(watched: TrainingMonitor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    leave_answers(watched, folder)
    return folder


class TestReports:
    def test_files(self, folder: Path) -> None:
        assert {path.name for path in (folder / "rules").iterdir()} == FILES
        members = {path.stem for path in (folder / "rules/profiler-reports").iterdir()}
        assert members == {
            "BatchSize", "CPUBottleneck", "Dataloader", "FrameworkMetrics", "GPUMemoryIncrease",
            "IOBottleneck", "LoadBalancing", "LowGPUUtilization", "MaxInitializationTime",
            "OverallSystemUsage", "StepOutlier",
        }  # fmt: skip

    def test_rules_json(self, folder: Path, watched: TrainingMonitor) -> None:
        found = json.loads((folder / "rules/rules.json").read_text())
        assert found["preset"] == "ours"
        assert found["summary"] == read_summary(folder)
        assert [rule["state"] for rule in found["rules"]] == [r.state.value for r in watched.finish()]

    def test_profiler_reports_have_the_keys_of_real_ones(self, folder: Path) -> None:
        for path in (folder / "rules/profiler-reports").iterdir():
            found = json.loads(path.read_text())
            assert {"RuleTriggered", "Violations", "Details", "Datapoints", "RuleParameters"} <= found.keys()
        usage = json.loads((folder / "rules/profiler-reports/OverallSystemUsage.json").read_text())
        assert usage["Datapoints"] > 0

    def test_the_page_shows_answers_plots_and_operators(self, folder: Path, watched: TrainingMonitor) -> None:
        page = (folder / "rules/report.html").read_text()
        for result in watched.finish():
            assert result.rule in page
        assert page.count("data:image/png") == 4  # losses, gradients, step times, the machine
        assert "aten::addmm" in page
        assert "the training runs on the CPU" in page

    def test_the_trace_is_one_of_chrome(self, folder: Path) -> None:
        trace = json.loads(gzip.decompress((folder / "rules/trace.json.gz").read_bytes()))
        assert any("mm" in event.get("name", "") for event in trace["traceEvents"])

    def test_mlflow_gets_the_folder_and_a_tag_for_each_answer(
        self, folder: Path, watched: TrainingMonitor, tracked: object
    ) -> None:
        with tracking.start_run("train") as run_id:
            log_answers(folder)
            log_answers(folder / "rules")  # a run that nobody watched has nothing to log
        client = mlflow.MlflowClient()
        assert {Path(file.path).name for file in client.list_artifacts(run_id, "rules")} == FILES
        tags = client.get_run(run_id).data.tags
        for result in watched.finish():
            assert tags[f"rule.{result.rule}"] == result.state.value

    def test_a_page_of_nothing(self, tmp_path: Path) -> None:
        page = TrainingMonitor().write_report(tmp_path).read_text()
        assert "No step was timed" in page
        assert "The machine was not sampled" in page


class TestSettings:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"preset": "best"}, "rules is 'best'; it must be one of ours, seed"),
            ({"stop_on": ("Overfit", "Underfit")}, "stop_on names Underfit; the rules are VanishingGradient"),
            ({"every": 0}, "every is 0; it must be at least 1"),
            ({"sample_hz": -1.0}, "sample_hz is -1.0; it must be at least 0"),
            ({"trace_at": 0}, "trace_at is 0; it must be at least 1"),
            ({"trace_steps": -1}, "trace_steps is -1; it must be at least 0"),
            ({"sample_hz": math.nan}, "sample_hz is nan"),
        ],
    )
    def test_impossible_ones_are_refused(self, wrong: dict[str, object], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            MonitorSettings(**wrong)  # type: ignore[arg-type]

    def read(self, *flags: str) -> MonitorSettings | None:
        parser = argparse.ArgumentParser()
        add_rule_flags(parser)
        return read_rules(parser.parse_args(list(flags)))

    def test_flags(self) -> None:
        assert self.read() == MonitorSettings()
        assert self.read("--rules", "none") is None
        assert self.read("--rules", "seed", "--stop-on", "Overfit, LossNotDecreasing") == MonitorSettings(
            preset="seed", stop_on=("Overfit", "LossNotDecreasing")
        )

    def test_flags_that_contradict_each_other(self) -> None:
        with pytest.raises(SettingsError, match="stop_on names Overfit, but rules is 'none'"):
            self.read("--rules", "none", "--stop-on", "Overfit")

    def test_the_first_rank_watches_alone(self) -> None:
        rules = {"preset": "seed", "stop_on": ["Overfit"], "every": 5}
        monitor = rank_monitor(rules, True, None)
        assert monitor is not None
        assert (monitor.settings.preset, list(monitor.settings.stop_on), monitor.settings.every) == (
            "seed",
            ["Overfit"],
            5,
        )
        assert rank_monitor(rules, False, monitor) is None
        assert rank_monitor(None, True, monitor) is monitor
        assert rank_monitor(None, True, None) is None

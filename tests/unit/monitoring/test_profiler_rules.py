import math
from array import array

import pytest

from stocktake.monitoring.profiler_rules import (
    Dataloader,
    FrameworkMetrics,
    MaxInitializationTime,
    OverallSystemUsage,
    ProfilerReport,
    StepOutlier,
)
from stocktake.monitoring.recording import Epoch, Operator, Recording
from stocktake.monitoring.results import State
from tests.recordings import drawn_samples, with_losses


def timed(seconds: list[float]) -> Recording:
    return with_losses([1.0] * len(seconds), seconds)


def loading(workers: int | None, cores: int = 4, wait: float | None = None) -> Recording:
    phases = {} if wait is None else {"data wait": wait, "forward": 1 - wait}
    return Recording(loader_workers=workers, cores=cores, epochs=[Epoch(1), Epoch(2, steps=5, phases=phases)])


class TestStepOutlier:
    @pytest.mark.parametrize(("slow", "state"), [(10, State.NO_ISSUES), (11, State.ISSUES)])
    def test_the_published_number_beyond_three_deviations(self, slow: int, state: State) -> None:
        found = StepOutlier().check(timed([1.0] * 500 + [4.0] * slow))
        assert found.state is state
        assert (found.violations, found.datapoints) == (slow, 500 + slow)
        assert found.where == ("step 500" if state is State.ISSUES else "")

    def test_many_slow_steps_are_no_outliers_by_their_deviation(self) -> None:
        assert StepOutlier().check(timed([1.0, 4.0] * 50)).violations == 0

    @pytest.mark.parametrize(("slowest", "count"), [(2.0, 0), (2.1, 1)])
    def test_a_factor_of_the_median(self, slowest: float, count: int) -> None:
        found = StepOutlier(n_outliers=0, factor=2.0).check(timed([1.0] * 30 + [slowest]))
        assert found.violations == count
        assert found.state is (State.ISSUES if count else State.NO_ISSUES)

    @pytest.mark.parametrize(("slowest", "state"), [(11.0, State.NO_ISSUES), (12.0, State.ISSUES)])
    def test_the_time_that_they_cost_beyond_a_usual_step(self, slowest: float, state: State) -> None:
        rule = StepOutlier(n_outliers=0, factor=2.0, share=0.1)
        found = rule.check(timed([1.0] * 89 + [slowest]))  # 10 of 100 seconds are lost, or 11 of 101
        assert found.state is state
        if state is State.NO_ISSUES:
            assert found.reason == "1 of 90 steps took over 2 s and cost 10.0% of the time"

    def test_steps_that_were_not_timed_are_left_out(self) -> None:
        seconds = [math.nan, *[1.0] * 25, 3.0, math.nan]
        found = StepOutlier(n_outliers=0, factor=2.0).check(timed(seconds))
        assert found.datapoints == 26
        assert found.where == "step 26"
        assert found.details["slowest"][0] == 26
        assert len(found.details["slowest"]) == 5
        assert found.details["step"]["seconds_max"] == 3.0

    @pytest.mark.parametrize(("steps", "state"), [(19, State.INSUFFICIENT), (20, State.NO_ISSUES)])
    def test_steps_that_it_takes(self, steps: int, state: State) -> None:
        found = StepOutlier().check(timed([1.0] * steps + [math.nan]))
        assert found.state is state
        if state is State.INSUFFICIENT:
            assert found.reason == "19 timed steps so far, 20 are needed"


@pytest.mark.parametrize(("seconds", "state"), [(1200.0, State.NO_ISSUES), (1201.0, State.ISSUES)])
def test_twenty_minutes_until_the_first_step(seconds: float, state: State) -> None:
    found = MaxInitializationTime().check(Recording(start_seconds=seconds))
    assert found.state is state
    assert found.reason == f"the first step was done after {seconds:.1f} s"
    assert (found.violations, found.datapoints) == (int(state is State.ISSUES), 1)
    assert found.where == ("start" if state is State.ISSUES else "")


def test_no_step_was_done_yet() -> None:
    found = MaxInitializationTime().check(Recording())
    assert found.reason == "0 steps so far, 1 are needed"


class TestDataloader:
    @pytest.mark.parametrize(
        ("workers", "cores", "state"),
        [(7, 10, State.NO_ISSUES), (6, 10, State.ISSUES), (20, 10, State.NO_ISSUES), (21, 10, State.ISSUES)],
    )
    def test_the_published_share_of_the_cores(self, workers: int, cores: int, state: State) -> None:
        found = Dataloader().check(loading(workers, cores))
        assert found.state is state
        assert found.reason == f"{workers} loading processes on {cores} cores"
        assert (found.violations, found.datapoints) == (int(state is State.ISSUES), 1)
        assert found.where == ("loader" if state is State.ISSUES else "")
        assert found.details == {"workers": workers, "cores": cores, "wait_share": None}

    @pytest.mark.parametrize(("wait", "state"), [(0.25, State.NO_ISSUES), (0.375, State.ISSUES)])
    def test_what_counts_is_the_waiting(self, wait: float, state: State) -> None:
        rule = Dataloader(min_threshold=0.0, wait_share=0.25)
        for workers in (0, None):
            found = rule.check(loading(workers, wait=wait))
            assert found.state is state
            assert found.details["wait_share"] == wait
        if state is State.ISSUES:
            assert found.reason == "37.5% of the time goes to waiting for data"
        else:
            assert rule.check(loading(2, wait=wait)).reason == (
                "2 loading processes on 4 cores, 25.0% of the time waiting"
            )

    def test_both_faults_are_told(self) -> None:
        found = Dataloader(wait_share=0.1).check(loading(1, wait=0.5))
        assert found.violations == 2
        assert found.reason == "1 loading processes on 4 cores; 50.0% of the time goes to waiting for data"

    def test_waiting_is_not_looked_at_with_published_parameters(self) -> None:
        assert Dataloader().check(loading(4, wait=0.9)).state is State.NO_ISSUES
        assert Dataloader().check(loading(None, wait=0.9)).state is State.NOT_EVALUATED

    def test_nothing_is_known(self) -> None:
        assert Dataloader(wait_share=0.1).check(loading(None)).state is State.NOT_EVALUATED
        assert Dataloader(wait_share=0.1).check(loading(4)).state is State.NO_ISSUES
        assert Dataloader(wait_share=0.1).check(loading(9)).state is State.ISSUES
        assert Dataloader().check(loading(9, cores=0)).state is State.NO_ISSUES


class TestStatistics:
    def test_use_of_the_machine(self) -> None:
        found = OverallSystemUsage().check(drawn_samples("both of two work"))
        assert found.state is State.NO_ISSUES
        assert list(found.details) == ["cpu", "i/o", "memory", "gpu0", "gpu1", "gpu_memory0", "gpu_memory1"]
        assert found.details["gpu1"]["value_max"] == 96
        assert found.details["gpu_memory0"]["value_max"] == 60
        assert found.reason == "CPU 60 % in the median of 430 samples"
        assert found.datapoints == 430

    def test_no_sample_yet(self) -> None:
        assert OverallSystemUsage().check(Recording()).reason == "0 samples so far, 1 are needed"

    def test_a_machine_without_gpu(self) -> None:
        seen = Recording()
        seen.samples.cpu, seen.samples.io_wait = array("d", [50.0]), array("d", [1.0])
        seen.samples.memory = array("d", [30.0])
        assert list(OverallSystemUsage().check(seen).details) == ["cpu", "i/o", "memory"]

    def test_phases_of_a_step(self) -> None:
        seen = Recording(operators=[Operator("aten::mm", 3, 1.5, 0.0)])
        seen.epochs = [
            Epoch(1, steps=2, phases={"forward": 1.0, "backward": 2.0}),
            Epoch(2, steps=3, phases={"forward": 1.0, "backward": 3.0, "other": 1.0}),
        ]
        found = FrameworkMetrics().check(seen)
        assert found.details["phases"] == {"forward": 0.25, "backward": 0.625, "other": 0.125}
        assert found.details["operators"][0]["name"] == "aten::mm"
        assert found.reason == "forward 25%, backward 62%, other 12%"
        assert found.datapoints == 5

    def test_no_epoch_yet(self) -> None:
        assert FrameworkMetrics().check(Recording()).state is State.INSUFFICIENT
        nothing = Recording(epochs=[Epoch(1, steps=1, phases={"forward": 0.0})])
        assert (
            FrameworkMetrics().check(nothing).reason == "1 timed steps in whole epochs so far, 1 are needed"
        )


class TestProfilerReport:
    RULE = ProfilerReport((StepOutlier(), MaxInitializationTime(threshold=1.0)))

    def test_issues_where_a_member_found_some(self) -> None:
        seen = timed([1.0] * 5)
        seen.start_seconds = 61.0
        found = self.RULE.check(seen)
        assert found.state is State.ISSUES
        assert found.where == "MaxInitializationTime"
        assert found.reason == "MaxInitializationTime found issues; 1 of 2 members could judge"
        assert found.details == {
            "NoIssuesFound": [],
            "IssuesFound": ["MaxInitializationTime"],
            "InsufficientData": ["StepOutlier"],
            "NotEvaluated": [],
        }
        assert found.parameters["MaxInitializationTime"] == {"threshold": 1.0}
        assert (found.violations, found.datapoints) == (1, 2)

    def test_none_where_one_could_judge(self) -> None:
        seen = timed([1.0] * 5)
        seen.start_seconds = 1.0
        found = self.RULE.check(seen)
        assert found.state is State.NO_ISSUES
        assert found.reason == "no member found issues; 1 of 2 members could judge"

    def test_too_little_where_none_could(self) -> None:
        assert self.RULE.check(Recording()).state is State.INSUFFICIENT

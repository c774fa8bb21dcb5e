import pytest

from stocktake.monitoring.machine_rules import (
    BatchSize,
    CPUBottleneck,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    MachineRule,
    WindowRule,
    percentiles,
)
from stocktake.monitoring.recording import Recording
from stocktake.monitoring.results import State
from tests.recordings import drawn_samples, with_samples

ALL = (BatchSize, CPUBottleneck, GPUMemoryIncrease, IOBottleneck, LoadBalancing, LowGPUUtilization)


@pytest.mark.parametrize("rule", ALL)
def test_no_gpu_is_a_reason_and_no_verdict(rule: type[MachineRule]) -> None:
    seen = Recording()
    seen.samples.why_no_gpu = "the training runs on the CPU"
    found = rule().check(seen)
    assert (found.state, found.reason) == (State.NOT_EVALUATED, "the training runs on the CPU")


@pytest.mark.parametrize("rule", ALL)
def test_too_few_samples(rule: type[MachineRule]) -> None:
    needed = 124 if issubclass(rule, WindowRule) else 5  # 120 = a minute, for the first judgement
    found = rule(patience=4).check(with_samples([[50.0, 50.0]] * (needed - 1)))
    assert found.state is State.INSUFFICIENT
    assert found.reason == f"{needed - 1} samples so far, {needed} are needed"
    enough = rule(patience=4).check(with_samples([[50.0, 50.0]] * (needed + 20)))
    assert enough.state in (State.ISSUES, State.NO_ISSUES)


def test_percentiles_are_named_as_in_the_real_reports() -> None:
    import numpy as np

    found = percentiles(np.arange(101.0), "gpu")
    assert found["gpu_max"] == 100
    assert found["gpu_min"] == 0
    assert [found[f"gpu_{p}"] for p in (5, 25, 50, 75, 95, 99)] == [5, 25, 50, 75, 95, 99]
    assert percentiles(np.array([0.000123456]), "s")["s_50"] == 0.0001235


class TestLowGPUUtilization:
    @pytest.mark.parametrize(("use", "state"), [(69.9, State.ISSUES), (70.0, State.NO_ISSUES)])
    def test_the_published_95th_percentile(self, use: float, state: State) -> None:
        found = LowGPUUtilization(patience=10, scan=10).check(with_samples([[use]] * 30))
        assert found.state is state
        if state is State.ISSUES:
            assert found.reason == "gpu0 under-used: 5th and 95th percentile 70 % and 70 %"
            assert found.where == "gpu0 after 10 s"
            assert (found.violations, found.datapoints) == (2, 30)
            assert found.details["gpu0"]["gpu_95"] == 69.9
        else:
            assert found.reason == "median use: gpu0 70 %"

    @pytest.mark.parametrize(("low", "state"), [(9.9, State.ISSUES), (10.0, State.NO_ISSUES)])
    def test_the_published_5th_percentile(self, low: float, state: State) -> None:
        found = LowGPUUtilization(patience=10, scan=20).check(
            with_samples([[50.0]] * 10 + [[low]] * 10 + [[90.0]] * 10)
        )
        assert found.state is state
        if state is State.ISSUES:
            assert found.reason == "gpu0 fluctuates: 5th and 95th percentile 10 % and 90 %"

    def test_what_comes_before_patience_is_not_judged(self) -> None:
        rows = [[0.0]] * 10 + [[90.0]] * 10
        found = LowGPUUtilization(patience=10, scan=10).check(with_samples(rows))
        assert found.state is State.NO_ISSUES
        assert found.details["gpu0"]["gpu_min"] == 90
        earlier = LowGPUUtilization(patience=9, scan=10).check(with_samples(rows))
        assert earlier.details["gpu0"]["gpu_min"] == 0

    def test_judges_every_scan_and_the_end_over_the_last_window(self) -> None:
        rule = LowGPUUtilization(patience=10, window=10, scan=10)
        rows = [[90.0]] * 20 + [[5.0]] * 15 + [[90.0]] * 20  # scans after 20, 30, 40, 50 and 55 samples
        found = rule.check(with_samples(rows))
        assert found.violations == 2  # after 30, and after 40, where half of the window is low
        assert found.where == "gpu0 after 15 s"
        assert found.reason.startswith("gpu0 under-used: 5th and 95th percentile 5 % and 5 %")

    def test_each_gpu_is_judged(self) -> None:
        found = LowGPUUtilization(patience=5, scan=10).check(with_samples([[90.0, 20.0]] * 25))
        assert found.where == "gpu1 after 8 s"
        assert found.violations == 2  # after 15 samples, and at the end
        assert found.datapoints == 50
        assert set(found.details) == {"gpu0", "gpu1"}

    @pytest.mark.parametrize("name", ["busy", "both of two work"])
    def test_published_parameters_need_minutes(self, name: str) -> None:
        assert LowGPUUtilization().check(drawn_samples(name)).state is State.INSUFFICIENT


class TestBatchSize:
    RULE = BatchSize(patience=4, window=10, scan=10)

    def check(self, gpu: float = 69.0, memory: float = 69.0, cpu: float = 69.0) -> State:
        rows = 20
        seen = with_samples(
            [[99.0]] * 4 + [[gpu]] * rows, [[99.0]] * 4 + [[memory]] * rows, [99.0] * 4 + [cpu] * rows
        )
        return self.RULE.check(seen).state

    def test_fires_where_everything_is_half_idle(self) -> None:
        assert self.check() is State.ISSUES

    @pytest.mark.parametrize("busy", ["gpu", "memory", "cpu"])
    def test_is_silent_where_one_of_the_three_is_in_use(self, busy: str) -> None:
        assert self.check(**{busy: 70.0}) is State.NO_ISSUES

    def test_says_which_gpu_and_when(self) -> None:
        seen = with_samples([[90.0, 30.0]] * 24, [[80.0, 20.0]] * 24, [10.0] * 24)
        found = self.RULE.check(seen)
        assert found.where == "gpu1 after 7 s"
        assert found.reason == "95th percentiles of CPU, GPU and GPU memory are 10, 30 and 20 %"
        assert (found.violations, found.datapoints) == (2, 48)

    def test_the_first_of_several_scans_is_told(self) -> None:
        seen = with_samples([[30.0]] * 14 + [[90.0]] * 10, [[20.0]] * 24, [10.0] * 24)
        assert self.RULE.check(seen).violations == 1
        assert self.RULE.check(with_samples([[30.0]] * 24)).violations == 2


class TestBottlenecks:
    @pytest.mark.parametrize(("busy", "state"), [(10, State.NO_ISSUES), (11, State.ISSUES)])
    def test_more_than_half_of_the_time(self, busy: int, state: State) -> None:
        idle = [[5.0]] * 24
        load = [99.0] * 4 + [99.0] * busy + [10.0] * (20 - busy)
        cpu = CPUBottleneck(patience=4).check(with_samples(idle, cpu=load))
        disk = IOBottleneck(patience=4).check(with_samples(idle, io_wait=load))
        for found in (cpu, disk):
            assert found.state is state
            assert (found.violations, found.datapoints) == (busy, 20)
            assert found.where == ("gpu0" if state is State.ISSUES else "")
            assert found.reason == f"gpu0 waited for it in {5 * busy} % of the samples"
            assert found.details == {"gpu0": {"share": 5.0 * busy}}

    @pytest.mark.parametrize(("gpu", "state"), [(9.9, State.ISSUES), (10.0, State.NO_ISSUES)])
    def test_a_gpu_that_works_does_not_wait(self, gpu: float, state: State) -> None:
        assert CPUBottleneck(patience=1).check(with_samples([[gpu]] * 9, cpu=[99.0] * 9)).state is state

    @pytest.mark.parametrize(("load", "state"), [(90.0, State.NO_ISSUES), (90.1, State.ISSUES)])
    def test_the_published_load_of_the_cpu(self, load: float, state: State) -> None:
        assert CPUBottleneck(patience=1).check(with_samples([[0.0]] * 9, cpu=[load] * 9)).state is state

    @pytest.mark.parametrize(("wait", "state"), [(50.0, State.NO_ISSUES), (50.1, State.ISSUES)])
    def test_the_published_wait_for_io(self, wait: float, state: State) -> None:
        assert IOBottleneck(patience=1).check(with_samples([[0.0]] * 9, io_wait=[wait] * 9)).state is state

    def test_the_worst_gpu_is_told(self) -> None:
        found = CPUBottleneck(patience=1).check(with_samples([[50.0, 0.0]] * 9, cpu=[99.0] * 9))
        assert found.where == "gpu1"

    @pytest.mark.parametrize(
        ("name", "cpu", "disk"),
        [
            ("waits for the CPU", State.ISSUES, State.NO_ISSUES),
            ("waits for the disk", State.NO_ISSUES, State.ISSUES),
            ("busy", State.NO_ISSUES, State.NO_ISSUES),
        ],
    )
    def test_on_samples_made_by_hand(self, name: str, cpu: State, disk: State) -> None:
        seen = drawn_samples(name)
        assert CPUBottleneck(patience=120).check(seen).state is cpu
        assert IOBottleneck(patience=120).check(seen).state is disk


class TestGPUMemoryIncrease:
    RULE = GPUMemoryIncrease(patience=2, window=4)

    @pytest.mark.parametrize(("memory", "state"), [(45.0, State.NO_ISSUES), (45.5, State.ISSUES)])
    def test_the_published_increase(self, memory: float, state: State) -> None:
        used = [[0.0]] * 2 + [[40.0]] * 4 + [[memory]] * 4 + [[99.0]] * 3  # the last window is not whole
        found = self.RULE.check(with_samples([[50.0]] * 13, used))
        assert found.state is state
        assert found.datapoints == 11
        assert found.violations == (1 if state is State.ISSUES else 0)
        assert found.where == ("gpu0 after 3 s" if state is State.ISSUES else "")
        assert (
            found.reason == f"the largest increase between windows of 4 samples is {memory - 40:.1f} points"
        )

    def test_windows_are_means(self) -> None:
        used = [[0.0]] * 2 + [[30.0], [50.0]] * 2 + [[20.0], [60.0]] * 2
        assert self.RULE.check(with_samples([[50.0]] * 10, used)).state is State.NO_ISSUES

    def test_the_largest_increase_of_all_gpus_is_told(self) -> None:
        used = [[10.0, 10.0]] * 6 + [[10.0, 20.0]] * 4 + [[10.0, 50.0]] * 4
        found = self.RULE.check(with_samples([[50.0, 50.0]] * 14, used))
        assert found.where == "gpu1 after 5 s"
        assert found.violations == 2

    def test_needs_two_windows_after_the_start(self) -> None:
        found = self.RULE.check(with_samples([[50.0]] * 9))
        assert found.state is State.INSUFFICIENT
        assert found.reason == "7 samples after the first 2 so far, 8 are needed"
        assert self.RULE.check(with_samples([[50.0]] * 10)).state is State.NO_ISSUES

    def test_on_samples_made_by_hand(self) -> None:
        rule = GPUMemoryIncrease(patience=120)
        assert rule.check(drawn_samples("memory leaks")).state is State.ISSUES
        assert rule.check(drawn_samples("under-used")).state is State.ISSUES  # while it was loading
        assert GPUMemoryIncrease(patience=130).check(drawn_samples("under-used")).state is State.NO_ISSUES


class TestLoadBalancing:
    @pytest.mark.parametrize(("moved", "state"), [(5, State.NO_ISSUES), (6, State.ISSUES)])
    def test_half_of_the_samples_in_other_bins(self, moved: int, state: State) -> None:
        rows = [[0.0, 99.0]] * 3 + [[95.0, 5.0]] * moved + [[95.0, 95.0]] * (10 - moved)
        found = LoadBalancing(patience=3).check(with_samples(rows))
        assert found.state is state
        assert found.reason == f"the use of gpu0 and gpu1 differs by {moved / 10:.2f}"
        assert found.details == {"gpu0-gpu1": moved / 10}
        assert found.where == ("gpu0 and gpu1" if state is State.ISSUES else "")
        assert found.violations == (1 if state is State.ISSUES else 0)
        assert found.datapoints == 20

    def test_the_farthest_pair_of_three(self) -> None:
        found = LoadBalancing(patience=1).check(with_samples([[95.0, 95.0, 5.0]] * 4))
        assert found.where == "gpu0 and gpu2"
        assert found.violations == 2
        assert found.details == {"gpu0-gpu1": 0.0, "gpu0-gpu2": 1.0, "gpu1-gpu2": 1.0}

    def test_small_differences_stay_within_a_bin(self) -> None:
        assert LoadBalancing(patience=1).check(with_samples([[91.0, 99.0]] * 4)).details == {"gpu0-gpu1": 0.0}
        assert LoadBalancing(patience=1).check(with_samples([[89.0, 91.0]] * 4)).details == {"gpu0-gpu1": 1.0}

    def test_one_gpu_has_nothing_to_be_compared_with(self) -> None:
        assert LoadBalancing(patience=1).check(with_samples([[91.0]] * 4)).state is State.NOT_EVALUATED

    def test_on_samples_made_by_hand(self) -> None:
        rule = LoadBalancing(patience=120, threshold=0.2)
        assert rule.check(drawn_samples("one of two works")).state is State.ISSUES
        assert rule.check(drawn_samples("both of two work")).state is State.NO_ISSUES

"""What is recorded: times, gradients, variances, samples."""

import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stocktake.monitoring.presets import SEED
from stocktake.monitoring.recording import ABSENT, SERIES, Recording, Samples
from stocktake.monitoring.sampler import Sampler, gpus_of, open_gpus
from stocktake.monitoring.stopwatch import Stopwatch
from stocktake.monitoring.tensors import GradientReader, VarianceReader, plain_name
from stocktake.monitoring.trace import Trace
from tests.watched import Clock, chain

DEADLINE = 60  # s, on a busy machine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "perf_counter", found)
    return found


def run_step(clock: Clock, watch: Stopwatch, wait: float, forward: float, backward: float) -> float:
    for phase, seconds in (("data wait", wait), ("forward", forward)):
        clock.now += seconds
        watch.mark(phase)
    clock.now += backward
    seconds = watch.step()
    clock.now += 1.0
    watch.mark("optimizer")
    return seconds


class TestStopwatch:
    def test_phases_add_up_over_an_epoch(self, clock: Clock) -> None:
        watch = Stopwatch(None, 10)
        assert math.isnan(run_step(clock, watch, 100.0, 2.0, 4.0))  # the first of its epoch
        assert run_step(clock, watch, 8.0, 2.0, 4.0) == 15.0
        assert run_step(clock, watch, 8.0, 4.0, 4.0) == 17.0
        assert watch.take() == (
            2,
            {"data wait": 16.0, "forward": 6.0, "backward": 8.0, "optimizer": 2.0},
        )
        assert list(watch.phases) == []

    def test_a_new_epoch_starts_anew(self, clock: Clock) -> None:
        watch = Stopwatch(None, 10)
        run_step(clock, watch, 1.0, 1.0, 1.0)
        clock.now += 500.0  # validation
        watch.take()
        assert math.isnan(run_step(clock, watch, 1.0, 1.0, 1.0))
        assert run_step(clock, watch, 1.0, 1.0, 1.0) == 4.0
        assert watch.take()[0] == 1

    def test_a_step_that_is_left_out_counts_nowhere(self, clock: Clock) -> None:
        watch = Stopwatch(None, 10)
        run_step(clock, watch, 1.0, 1.0, 1.0)
        watch.leave_out()
        assert math.isnan(run_step(clock, watch, 1.0, 1.0, 1.0))
        assert watch.take() == (0, {})

    def test_time_without_a_forward_pass_is_other_time(self, clock: Clock) -> None:
        watch = Stopwatch(None, 10)
        watch.step()
        clock.now += 3.0
        watch.step()
        assert watch.take() == (1, {"other": 3.0})

    def test_a_device_is_waited_for_in_a_few_steps_only(self, clock: Clock) -> None:
        waits: list[int] = []
        watch = Stopwatch(lambda: waits.append(1), 4)
        for step in range(8):
            run_step(clock, watch, 1.0, 1.0, 1.0)
            assert len(waits) == {0: 0, 1: 1, 2: 4, 3: 4, 4: 4, 5: 5, 6: 8, 7: 8}[step]
        steps, phases = watch.take()
        assert steps == 2
        assert phases["forward"] == 2.0


def backward(network: nn.Module, factor: float = 1.0) -> None:
    inputs = torch.linspace(-1, 1, 24).reshape(8, 3)
    (factor * network(inputs).square().mean()).backward()


class TestGradientReader:
    def test_mean_absolute_gradients_and_spreads(self) -> None:
        network = chain([3, 4, 2])
        reader = GradientReader(network)
        backward(network)
        gradients = [p.grad for p in network.parameters()]
        assert reader.names == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert reader.is_weight == [True, False, True, False]
        assert reader.row(reader.mean_abs(1.0)) == pytest.approx([float(g.abs().mean()) for g in gradients])
        ends = torch.tensor([0.05, 0.95])
        spreads = [float(torch.quantile(g, ends).diff()) for g in gradients]
        assert reader.row(reader.spread(1.0)) == pytest.approx(spreads)

    def test_the_scale_of_the_loss_is_taken_out(self) -> None:
        network = chain([3, 4, 2])
        reader = GradientReader(network)
        backward(network)
        plain = reader.row(reader.mean_abs(1.0)), reader.row(reader.spread(1.0))
        network.zero_grad()
        backward(network, 64.0)
        assert reader.row(reader.mean_abs(64.0)) == pytest.approx(plain[0])
        assert reader.row(reader.spread(64.0)) == pytest.approx(plain[1])

    def test_frozen_tensors_are_left_out_and_unused_ones_are_absent(self) -> None:
        network = chain([3, 4, 2])
        network.register_parameter("unused", nn.Parameter(torch.ones(2, 2)))
        network[0].weight.requires_grad_(False)
        reader = GradientReader(network)
        assert reader.names == ["unused", "0.bias", "2.weight", "2.bias"]
        assert reader.row(reader.mean_abs(1.0)) == [ABSENT] * 4
        assert reader.row(reader.spread(1.0)) == [ABSENT] * 4
        backward(network)
        row = reader.row(reader.mean_abs(1.0))
        assert row[0] == ABSENT
        assert row[2] == pytest.approx(float(network[2].weight.grad.abs().mean()))
        assert reader.row(reader.spread(1.0))[0] == ABSENT

    def test_a_large_gradient_is_sampled_evenly(self) -> None:
        network = nn.Linear(200, 100, bias=False)
        network.weight.grad = torch.linspace(0, 1, 20_000).reshape(100, 200)
        reader = GradientReader(network)
        assert reader.row(reader.spread(1.0))[0] == pytest.approx(0.9, abs=0.002)

    def test_units_that_are_copies(self) -> None:
        network = chain([3, 4, 2])
        nn.init.constant_(network[0].weight, 0.5)
        reader = GradientReader(network)
        assert reader.identical() == ["0.weight"]
        with torch.no_grad():
            network[0].weight[3, 2] += 1e-3
        assert reader.identical() == []
        assert GradientReader(nn.Linear(3, 1)).identical() == []


def test_variances_of_layers_in_the_order_of_their_use() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.ReLU(), nn.Linear(8, 3))
    reader = VarianceReader(network)
    inputs = torch.arange(8.0).reshape(2, 1, 2, 2)
    outputs = network(inputs)
    taken = reader.take()
    assert list(taken) == ["0", "3"]
    assert float(taken["3"]) == pytest.approx(float(outputs.var()))
    assert reader.take() == {}
    network.eval()(inputs)
    assert reader.take() == {}  # measuring is not training
    reader.close()
    network.train()(inputs)
    assert reader.take() == {}


def test_names_are_those_of_the_network_within_its_wrappers() -> None:
    assert plain_name("module.layer1.0.weight") == "layer1.0.weight"
    assert plain_name("_orig_mod.fc.bias") == "fc.bias"


def wait_until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < limit, "it did not come to hold"
        torch.rand(50, 50) @ torch.rand(50, 50)


class TestSampler:
    def test_samples_the_cpu_and_says_that_there_is_no_gpu(self) -> None:
        samples = Samples()
        sampler = Sampler(samples, 200.0, [])
        wait_until(lambda: len(samples.memory) >= 3)
        sampler.close()
        taken = len(samples.cpu)
        assert samples.hz == 200.0
        assert all(0 <= value <= 100 for value in samples.cpu)
        assert all(0 <= value <= 100 for value in samples.io_wait)
        assert all(0 < value <= 100 for value in samples.memory)
        assert len(samples.io_wait) == len(samples.memory) == taken
        assert samples.gpus == samples.gpu == []
        assert samples.why_no_gpu == "the training runs on the CPU"
        sampler.close()  # a second time does nothing

    def test_none_at_all(self) -> None:
        samples = Samples()
        Sampler(samples, 0, []).close()
        assert not len(samples.cpu)
        assert samples.why_no_gpu == "sampling is switched off"

    @pytest.mark.parametrize(("hz", "gpus"), [(2.0, []), (2.0, ["B"]), (2.0, ["A", "A"]), (0, ["A"])])
    def test_a_run_resumed_elsewhere_or_in_another_rhythm_starts_anew(
        self, hz: float, gpus: list[str]
    ) -> None:
        samples = Samples(gpus=["A"])
        samples.append([(50.0, 10.0)], 1.0, 2.0, 3.0)
        samples.begin(2.0, ["A"])
        assert samples.gpu == [[50.0]]
        samples.begin(hz, gpus, "a reason")
        samples.append([(60.0, 20.0)] * len(gpus), 4.0, 5.0, 6.0)
        assert (samples.hz, samples.gpus) == (hz, gpus)
        assert list(samples.cpu) == [4.0]
        assert len(samples.io_wait) == len(samples.memory) == 1
        assert [len(row) for row in samples.gpu] == ([len(gpus)] if gpus else [])
        answers = SEED[-1].check(Recording(samples=samples))
        assert answers.rule == "ProfilerReport"

    def test_what_reads_meanwhile_sees_whole_looks_and_stops_none(self, tmp_path: Path) -> None:
        seen = Recording(samples=Samples(gpus=["A"]))
        held = np.asarray(seen.snapshot().samples.cpu)  # a view of the series itself would stop the appends
        often = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

        def look() -> None:
            for _ in range(2000):
                seen.samples.append([(1.0, 1.0)], 1.0, 1.0, 1.0)

        try:
            with ThreadPoolExecutor(1) as pool:
                looks = pool.submit(look)
                while not looks.done():
                    taken = seen.snapshot().samples
                    assert len({len(getattr(taken, name)) for name in SERIES}) == 1
        finally:
            sys.setswitchinterval(often)
        looks.result()
        assert len(held) == 0
        assert len(Recording.read(seen.write(tmp_path / "recording.json")).samples.cpu) == 2000

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_a_gpu_that_does_not_answer_is_a_reason(self) -> None:
        samples = Samples(gpus=["one of an earlier process"])
        assert open_gpus(samples, 2.0, [0])() == []
        assert samples.gpus == []
        assert samples.why_no_gpu.startswith("NVML does not answer: ")

    @pytest.mark.gpu
    def test_a_gpu_that_answers(self) -> None:
        samples = Samples()
        look = open_gpus(samples, 2.0, gpus_of(nn.Linear(2, 2).cuda()))
        assert len(samples.gpus) == 1
        ((use, memory),) = look()
        assert 0 <= use <= 100
        assert 0 < memory <= 100

    def test_a_model_on_the_cpu_has_no_gpus(self) -> None:
        assert gpus_of(nn.Linear(2, 2)) == []
        assert gpus_of(nn.ReLU()) == []


def test_a_trace_within_another_profiler_gives_way(caplog: pytest.LogCaptureFixture) -> None:
    first = Trace(cuda=False)
    second = Trace(cuda=False)
    torch.ones(64, 64) @ torch.ones(64, 64)
    assert second.stop() == []
    assert any("mm" in row.name for row in first.stop())
    assert "no steps are traced" in caplog.text

"""Every rule on small networks that are trained here: one with the fault, one without."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from stocktake.monitoring.monitor import MonitorSettings, State, StopTraining, TrainingMonitor
from stocktake.monitoring.presets import OURS, SEED
from stocktake.monitoring.profiler_rules import (
    Dataloader,
    FrameworkMetrics,
    MaxInitializationTime,
    OverallSystemUsage,
    ProfilerReport,
)
from stocktake.monitoring.results import RuleResult
from tests.recordings import drawn_samples
from tests.watched import Clock, chain, two_moons, watch_training


@pytest.fixture(autouse=True)
def quick_and_alike() -> Iterator[None]:
    """Networks this small train faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def answer(monitor: TrainingMonitor, rule: str) -> RuleResult:
    (found,) = [result for result in monitor.finish() if result.rule == rule]
    return found


class SlowStart(torch.optim.AdamW):
    """A learning rate that rises by the same amount in each of `warmup` steps, as trainings of ours do."""

    def __init__(self, parameters: object, lr: float, warmup: int) -> None:
        super().__init__(parameters, lr=lr)
        self.peak, self.warmup, self.done = lr, warmup, 0

    def step(self, closure: object = None) -> None:
        self.done += 1
        for group in self.param_groups:
            group["lr"] = self.peak * min(self.done / self.warmup, 1.0)
        super().step()


@pytest.mark.long
@pytest.mark.parametrize("warmup", [334, 13_000])
def test_branches_that_begin_at_nought_and_open_with_the_warm_up_are_no_fault(warmup: int) -> None:
    network = resnet50(zero_init_residual=True, num_classes=5)
    photos = torch.rand(16, 3, 32, 32), torch.arange(16) % 5
    every_step = MonitorSettings(every=2, sample_hz=0, trace_steps=0)
    start = partial(SlowStart, warmup=warmup)
    monitor = watch_training(
        network, photos, lr=3e-4, epochs=6, batch=8, settings=every_step, make_optimizer=start
    )
    seen = monitor.recording
    assert np.mean(np.array(seen.first_steps.spread[0]) == 0) > 0.3
    assert answer(monitor, "PoorWeightInitialization").state is State.NO_ISSUES
    assert answer(monitor, "VanishingGradient").state is State.NO_ISSUES


class TestVanishingGradient:
    def test_fires_on_a_deep_chain_of_sigmoids(self) -> None:
        network = chain([2, *[32] * 12, 2], nn.Sigmoid)
        found = answer(watch_training(network, two_moons(256)), "VanishingGradient")
        assert found.state is State.ISSUES
        assert found.where.startswith("0.weight at step ")  # the first layer, farthest from the loss

    def test_is_silent_on_a_chain_of_relus(self) -> None:
        found = answer(watch_training(chain([2, 32, 32, 32, 2]), two_moons(256)), "VanishingGradient")
        assert found.state is State.NO_ISSUES

    def test_is_silent_on_biases_before_a_batch_norm_which_seed_s_parameters_are_not(self) -> None:
        network = nn.Sequential(
            nn.Unflatten(1, (1, 1, 2)), nn.Conv2d(1, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(16, 2),
        )  # fmt: skip
        monitor = watch_training(network, two_moons(256))
        assert answer(monitor, "VanishingGradient").state is State.NO_ISSUES
        published = SEED[0].check(monitor.recording)
        assert published.state is State.ISSUES
        assert published.where.startswith("1.bias")


class TestOverfit:
    def test_fires_on_labels_learnt_by_heart(self) -> None:
        points, _ = two_moons(48)
        classes = torch.randint(2, (48,))
        val = (two_moons(200, seed=1)[0], torch.randint(2, (200,)))
        monitor = watch_training(chain([2, 256, 256, 2]), (points, classes), val, lr=3e-3, epochs=40)
        found = answer(monitor, "Overfit")
        assert found.state is State.ISSUES
        assert found.details["train_loss"] == "in eval mode"

    def test_is_silent_where_val_follows_train(self) -> None:
        monitor = watch_training(chain([2, 16, 2]), two_moons(512), two_moons(512, seed=1), epochs=8)
        assert answer(monitor, "Overfit").state is State.NO_ISSUES


class TestOvertraining:
    def test_fires_on_a_network_that_learnt_all_long_ago(self) -> None:
        noisy = two_moons(512, noise=0.6)
        val = two_moons(512, seed=1, noise=0.6)
        monitor = watch_training(chain([2, 16, 2]), noisy, val, lr=0.02, epochs=25)
        found = answer(monitor, "Overtraining")
        assert found.state is State.ISSUES
        assert found.details["train"]["epochs_since"] >= 5

    def test_is_silent_while_the_losses_fall(self) -> None:
        monitor = watch_training(chain([2, 16, 2]), two_moons(512), two_moons(512, seed=1), epochs=11)
        assert answer(monitor, "Overtraining").state is State.NO_ISSUES


class TestPoorWeightInitialization:
    def test_fires_on_units_that_are_copies(self) -> None:
        network = chain([2, 16, 16, 2])
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.1)
        found = answer(watch_training(network, two_moons(512)), "PoorWeightInitialization")
        assert found.state is State.ISSUES
        assert "0.weight are copies" in found.reason

    @pytest.mark.parametrize("std", [1.0, 0.001])
    def test_fires_on_weights_that_are_too_large_or_too_small(self, std: float) -> None:
        network = chain([2, *[64] * 6, 2])
        for name, parameter in network.named_parameters():
            nn.init.normal_(parameter, std=std if name.endswith("weight") else 1e-9)
        found = answer(watch_training(network, two_moons(512), lr=1e-5), "PoorWeightInitialization")
        assert found.state is State.ISSUES
        assert "vary" in found.reason

    @pytest.mark.parametrize("zeros_last", [False, True])
    def test_is_silent_on_a_good_start_and_on_a_last_layer_of_noughts(self, zeros_last: bool) -> None:
        network = chain([2, 32, 32, 2])
        if zeros_last:
            nn.init.zeros_(network[-1].weight)
        found = answer(watch_training(network, two_moons(512)), "PoorWeightInitialization")
        assert found.state is State.NO_ISSUES


class TestLossNotDecreasing:
    def test_fires_where_nothing_is_learnt(self) -> None:
        found = answer(
            watch_training(chain([2, 16, 2]), two_moons(512), lr=0.0, epochs=14), "LossNotDecreasing"
        )
        assert found.state is State.ISSUES

    def test_fires_where_the_rate_is_too_high(self) -> None:
        data = two_moons(512)
        monitor = watch_training(
            chain([2, 64, 64, 2]), data, lr=50.0, epochs=14, make_optimizer=torch.optim.SGD
        )
        assert answer(monitor, "LossNotDecreasing").state is State.ISSUES

    def test_is_silent_where_it_learns(self) -> None:
        found = answer(watch_training(chain([2, 16, 2]), two_moons(512), epochs=14), "LossNotDecreasing")
        assert found.state is State.NO_ISSUES

    def test_ends_a_run_that_it_was_asked_to_end(self) -> None:
        settings = MonitorSettings(sample_hz=0, trace_steps=0, stop_on=("LossNotDecreasing",))
        with pytest.raises(StopTraining, match="LossNotDecreasing: the loss is") as stopped:
            watch_training(chain([2, 16, 2]), two_moons(512), lr=0.0, epochs=100, settings=settings)
        assert stopped.value.rule == "LossNotDecreasing"


class TestLowGPUUtilization:
    def test_says_why_it_does_not_judge_a_training_on_the_cpu(self) -> None:
        settings = MonitorSettings(sample_hz=50, trace_steps=0)
        found = answer(
            watch_training(chain([2, 16, 2]), two_moons(64), settings=settings), "LowGPUUtilization"
        )
        assert found.state is State.NOT_EVALUATED
        assert found.reason == "the training runs on the CPU"

    @pytest.mark.parametrize(
        ("name", "state"),
        [
            ("busy", State.NO_ISSUES),
            ("under-used", State.ISSUES),
            ("fluctuates", State.ISSUES),
            ("too short", State.INSUFFICIENT),
        ],
    )
    def test_on_samples_made_by_hand(self, name: str, state: State) -> None:
        (rule,) = [rule for rule in OURS if rule.name == "LowGPUUtilization"]
        found = rule.check(drawn_samples(name))
        assert found.state is state
        assert name in found.reason or state is not State.ISSUES


class TestProfilerReport:
    MEMBERS = ProfilerReport(
        (Dataloader(0.0, wait_share=0.5), MaxInitializationTime(), OverallSystemUsage(), FrameworkMetrics())
    )
    SETTINGS = MonitorSettings(every=2, sample_hz=100, trace_at=3, trace_steps=2)

    def watch(self, patch: pytest.MonkeyPatch, wait: float, forward: float) -> TrainingMonitor:
        """Train while loading and forward pass of each step take so many seconds of a clock set by hand."""
        clock = Clock()
        patch.setattr(time, "perf_counter", clock)
        network = chain([2, 16, 2])
        network.register_forward_hook(lambda *_: clock.advance(forward))
        monitor = watch_training(
            network, two_moons(512), settings=self.SETTINGS, load=lambda: clock.advance(wait)
        )
        monitor.finish()
        return monitor

    def test_fires_where_the_training_waits_for_its_data(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.MEMBERS.check(self.watch(monkeypatch, wait=3.0, forward=2.0).recording)
        assert found.state is State.ISSUES
        assert found.where == "Dataloader"

    def test_is_silent_where_it_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monitor = self.watch(monkeypatch, wait=2.0, forward=3.0)
        found = self.MEMBERS.check(monitor.recording)
        assert found.state is State.NO_ISSUES
        assert monitor.recording.traced_steps == 2
        assert any("mm" in row.name for row in monitor.recording.operators)

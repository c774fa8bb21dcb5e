"""What is compared: sections of a table, each one day and one kind of pod under several policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.scaling.arrivals import HOUR
from benchmarks.scaling.autoscalers import cpu, hpa, in_flight, knative
from benchmarks.scaling.parameters import Parameters, measured
from benchmarks.scaling.pods import Deployment
from benchmarks.scaling.simulation import Result, Simulation, cpu_device, gpu_device, noise

SHARE_OF_CPU = 0.8
PER_TARGET = 2  # containerConcurrency over scaleTarget
GPU_TARGET = 2  # photos in flight per pod
ADVISED = {"cpu": f"HPA, {SHARE_OF_CPU:.0%} of CPU", "gpu": f"KEDA, {GPU_TARGET} in flight"}  # rows
WAVE_H = 17 + 1 / 60  # one is under way
WAVES = "day.camera_spread_s=180"
MOST = "autoscaler.max_replicas=4"
DEVICES = {"cpu": cpu_device, "gpu": gpu_device}


@dataclass(frozen=True)
class Scenario:
    """One row: a policy, and what else is different.

    Attributes:
        name: what is read in the table.
        policy: sets pods or starts an autoscaler.
        changes: of parameters, `group.name=number`.
        concurrency: of each pod behind an activator; None behind a gateway.
        disturb: done to the pods at `at_h`.
        at_h: h from midnight.
    """

    name: str
    policy: Callable[[Simulation], None]
    changes: tuple[str, ...] = ()
    concurrency: int | None = None
    disturb: Callable[[Deployment], None] | None = None
    at_h: float = 17.0

    def run(
        self,
        device: str,
        arrivals: Iterable[float],
        changes: Iterable[str],
        seed: int,
        each_hour: Callable[[], None] | None = None,
    ) -> Result:
        """Simulate the day of `arrivals` (s) with parameters changed by the section and by the row."""
        parameters = Parameters([*changes, *self.changes])
        found = measured()
        pod, start_s = DEVICES[device](parameters, found)
        simulation = Simulation(
            parameters, pod, start_s, seed, noise=noise(found, seed), concurrency=self.concurrency
        )
        self.policy(simulation)
        if self.disturb:
            disturb = self.disturb
            simulation.events.after(self.at_h * HOUR, lambda _: disturb(simulation.pods))
        return simulation.run(arrivals, each_hour)


@dataclass(frozen=True)
class Section:
    """Rows of one table.

    Attributes:
        title: heading.
        device: cpu or gpu.
        changes: of parameters, for all rows.
        scenarios: the rows.
    """

    title: str
    device: str
    changes: tuple[str, ...]
    scenarios: tuple[Scenario, ...]


def fixed(pods: int) -> Scenario:
    """So many pods, day and night."""
    return Scenario(f"fixed, {pods}", lambda simulation: simulation.pods.start_ready(pods))


def keda(target: float, note: str = "", **others: Any) -> Scenario:
    """KEDA on photos in flight per pod, from one pod on."""

    def policy(simulation: Simulation) -> None:
        down_s = simulation.parameters.autoscaler.keda_down_s
        hpa(simulation, in_flight(simulation, target), 1, down_s)

    return Scenario(f"KEDA, {target:g} in flight{note}", policy, **others)


def on_cpu() -> Scenario:
    """An HPA on CPU utilisation, from one pod on."""

    def policy(simulation: Simulation) -> None:
        hpa(simulation, cpu(simulation, SHARE_OF_CPU), 1, simulation.parameters.autoscaler.hpa_down_s)

    return Scenario(f"HPA, {SHARE_OF_CPU:.0%} of CPU", policy)


def on_knative(target: int) -> Scenario:
    """Knative from zero pods on."""
    name = f"Knative, concurrency {target}, from 0"
    return Scenario(name, lambda simulation: knative(simulation, target), concurrency=PER_TARGET * target)


def sections() -> tuple[Section, ...]:
    """All tables."""
    return (
        Section(
            "CPU pods, cameras spread over the quarter of an hour",
            "cpu",
            (),
            (
                *(fixed(pods) for pods in (4, 5, 6)),
                *(keda(target) for target in (1, 2, 3, 4)),
                on_cpu(),
                on_knative(1),
                on_knative(2),
            ),
        ),
        Section(
            "GPU pods, cameras spread over the quarter of an hour",
            "gpu",
            (MOST,),
            (
                *(fixed(pods) for pods in (1, 2)),
                *(keda(target) for target in (2, 4, 8)),
                on_cpu(),
                on_knative(2),
            ),
        ),
        Section(
            "GPU pods, all cameras within three minutes of the quarter",
            "gpu",
            (MOST, WAVES),
            (
                *(fixed(pods) for pods in (2, 3, 4)),
                *(keda(target) for target in (1, 2, 4, 8)),
                keda(GPU_TARGET, ", down after 300 s", changes=("autoscaler.keda_down_s=300",)),
                on_cpu(),
                on_knative(2),
            ),
        ),
        Section(
            "The same waves, with eight cores beside each GPU",
            "gpu",
            (MOST, WAVES, "predictor.cores=8"),
            (*(fixed(pods) for pods in (1, 2)), keda(8)),
        ),
        Section(
            "The same waves, when something is short",
            "gpu",
            (MOST, WAVES),
            (
                keda(GPU_TARGET, ", 2 free GPUs", changes=("nodes.devices=2",)),
                keda(GPU_TARGET, ", GPU nodes of a cloud", changes=("nodes.start_s=300", "nodes.idle_s=600")),
                keda(GPU_TARGET, ", 2 pods die at 17:01", disturb=lambda pods: pods.kill(2), at_h=WAVE_H),
                keda(GPU_TARGET, ", rollout at 17:00, maxSurge 0", disturb=lambda pods: pods.roll(0)),
                keda(
                    GPU_TARGET, ", rollout at 17:00, maxSurge 0, 1 GPU",
                    changes=("nodes.devices=1", "day.camera_spread_s=900"), disturb=lambda pods: pods.roll(0),
                ),
            ),
        ),
    )  # fmt: skip

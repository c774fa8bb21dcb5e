"""The loops that decide how many pods there should be, as their controllers do it.

Each is built on a `View` and a `Deployment` and repeats itself on the events of the simulation.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from benchmarks.scaling.events import Events
from benchmarks.scaling.parameters import Parameters
from benchmarks.scaling.pods import Deployment


class View(Protocol):
    """What autoscalers can see of a simulation."""

    events: Events
    pods: Deployment
    parameters: Parameters

    def inside(self) -> int:
        """Photos that wait or are worked on, all together, now."""

    def inside_s(self) -> float:
        """Its integral until now, photo seconds."""

    def cores(self) -> int:
        """Of one pod."""


Metric = Callable[[int], int]  # from pods that there should be to pods that there should be


def in_flight(view: View, target: float) -> Metric:
    """KEDA's prometheus trigger on the photos in flight, as an HPA's external metric with an AverageValue.

    Prometheus scrapes; the HPA asks KEDA, which asks Prometheus. `GetExternalPerPodMetricReplicas` in
    kubernetes/pkg/controller/podautoscaler: all of the metric over the target, rounded up, unless it is
    within the tolerance of what pods there are (pods that start are among them).

    Args:
        view: of the simulation.
        target: photos in flight per pod.
    """
    told = view.parameters.autoscaler
    scraped = [0]
    view.events.every(told.scrape_s, lambda: scraped.__setitem__(0, view.inside()))

    def desired(current: int) -> int:
        found = scraped[0]
        if abs(1 - found / (target * current)) <= told.tolerance:
            return current
        return math.ceil(found / target)

    return desired


def cpu(view: View, target: float) -> Metric:
    """CPU utilisation of pods over the last window of metrics-server, over `target` (0-1 of the request).

    `GetResourceReplicas`: pods that are not ready are left out, and count as idle where more are wanted.
    """
    told = view.parameters.autoscaler
    before: dict[object, float] = {}
    found = [0.0, 0]

    def measure() -> None:
        now = {replica: replica.core_s for replica in view.pods.ready}
        used = sum(worked - before.get(replica, 0.0) for replica, worked in now.items())
        found[:] = used / told.cpu_window_s / view.cores(), len(now)
        before.clear()
        before.update(now)

    view.events.every(told.cpu_window_s, measure)

    def desired(current: int) -> int:
        used, ready = found
        if not ready:
            return current
        ratio, counted = used / ready / target, ready
        if ratio > 1 and ready < current:
            ratio, counted = used / current / target, current
            if ratio < 1:
                return current
        return current if abs(1 - ratio) <= told.tolerance else math.ceil(ratio * counted)

    return desired


def hpa(view: View, metric: Metric, least: int, stabilization_s: float) -> None:
    """The HorizontalPodAutoscaler with its default behaviour.

    Up at once, by four pods or to twice as many at most in each 15 s; down to the highest that was
    recommended within the stabilisation window (`stabilizeRecommendationWithBehaviors`, autoscaling/v2
    defaults.go).

    Args:
        view: of the simulation.
        metric: how many pods there should be.
        least: pods, there from the beginning.
        stabilization_s: the window.
    """
    told = view.parameters.autoscaler
    recommended: deque[tuple[float, int]] = deque()

    def sync() -> None:
        now, current = view.events.now, view.pods.wanted
        proposed = min(max(metric(current), least), told.max_replicas)
        recommended.append((now, proposed))
        while recommended[0][0] < now - stabilization_s:
            recommended.popleft()
        if proposed > current:
            fastest = max(current + told.up_pods, math.floor(current * (1 + told.up_percent / 100)))
            view.pods.set(min(proposed, fastest))
        elif (down := max(pods for _, pods in recommended)) < current:
            view.pods.set(down)

    view.pods.start_ready(least)
    view.events.every(told.sync_s, sync, first=told.scrape_s / 2)  # between two scrapes, on average


def knative(view: View, target: float) -> None:
    """Knative's own autoscaler (knative/serving pkg/autoscaler/scaling), from zero pods on.

    Concurrency as an average over a stable and a panic window, the activator's queue included, over a share
    of the target. Panic when the short window wants twice the pods that are ready: no way down until a
    stable window after that.
    """
    told = view.parameters.knative
    goal = max(1.0, target * told.target_share)
    history: deque[tuple[float, float]] = deque([(0.0, 0.0)])
    panic: dict[str, float] = {}  # since when, and the most pods

    def average(window_s: float) -> float:
        now, total = history[-1]
        past, then = next(entry for entry in history if entry[0] >= now - window_s)
        return (total - then) / (now - past) if now > past else 0.0

    def tick() -> None:
        now = view.events.now
        history.append((now, view.inside_s()))
        while history[0][0] < now - told.stable_s:
            history.popleft()
        ready = max(1, len(view.pods.ready))
        lowest = math.floor(ready / told.max_down)
        stable = max(math.ceil(average(told.stable_s) / goal), lowest)
        wanted = math.ceil(average(told.panic_s) / goal)
        if wanted / ready >= told.panic_threshold:
            panic["since"] = now
        elif panic and now - panic["since"] > told.stable_s:
            panic.clear()
        if panic:
            panic["most"] = stable = max(stable, wanted, int(panic.get("most", 0)))
        view.pods.set(min(stable, view.parameters.autoscaler.max_replicas))

    view.events.every(told.tick_s, tick, first=told.tick_s)

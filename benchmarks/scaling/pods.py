"""Pods and the devices under them: what a Deployment, the scheduler and a node autoscaler do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from benchmarks.scaling.events import Events
from benchmarks.scaling.replicas import Replica


class Devices:
    """GPUs, one a node, or nodes for CPU pods: there, or started by a cloud and given back.

    Attributes:
        held: by pods, or idle and still paid for.
    """

    def __init__(self, events: Events, nodes: SimpleNamespace):
        """Take the parameters of `nodes`: devices, start_s, pull_s, idle_s."""
        self._events, self._nodes = events, nodes
        self._idle: list[object] = []
        self.held = 0
        self._held_s, self._since = 0.0, 0.0

    def take(self) -> float | None:
        """Take one. Returns s until a pod can start on it; None if there is none."""
        if self._idle:
            self._idle.pop()
            return 0.0
        if self.held >= self._nodes.devices:
            return None
        self._count(1)
        return self._nodes.start_s + self._nodes.pull_s if self._nodes.start_s else 0.0

    def give(self) -> None:
        """Give one back; a node of a cloud stays for a while."""
        if not self._nodes.idle_s:
            self._count(-1)
            return
        node = object()
        self._idle.append(node)
        self._events.after(self._nodes.idle_s, self._expire, node)

    def held_s(self) -> float:
        """Device seconds until now."""
        return self._held_s + self.held * (self._events.now - self._since)

    def _expire(self, node: object) -> None:
        if node in self._idle:
            self._idle.remove(node)
            self._count(-1)

    def _count(self, change: int) -> None:
        self._held_s, self._since = self.held_s(), self._events.now
        self.held += change


class Pod:
    """Pending, starting, ready or stopping; its replica from when it is ready."""

    def __init__(self) -> None:
        self.state = "pending"
        self.replica: Replica | None = None


class Deployment:
    """Keeps as many pods as an autoscaler wants.

    Attributes:
        wanted: pods.
        ready: replicas that may be asked.
        worked_s: core seconds of pods that are gone.
    """

    def __init__(
        self,
        events: Events,
        devices: Devices,
        make: Callable[[], Replica],
        start_s: float,
        stop_s: float,
        became_ready: Callable[[], None] = lambda: None,
    ):
        """Start with no pods.

        Args:
            events: of the simulation.
            devices: that pods are bound to; a pod that finds none is pending.
            make: the replica of a pod that is ready.
            start_s: from bound to ready.
            stop_s: from told to stop to gone, or longer where photos are left.
            became_ready: called whenever a pod did.
        """
        self._events, self._devices, self._make = events, devices, make
        self._start_s, self._stop_s, self._became_ready = start_s, stop_s, became_ready
        self._pods: list[Pod] = []
        self._rolling: list[Pod] = []
        self._replacement: Pod | None = None
        self._surge = 0
        self.wanted = 0
        self.ready: list[Replica] = []
        self.worked_s = 0.0

    def set(self, wanted: int) -> None:
        """Create or stop pods: pending ones are stopped first, those that are ready for long last."""
        self.wanted = wanted
        while len(self._pods) < wanted + self._surge:
            self._pods.append(Pod())
        while len(self._pods) > wanted + self._surge:
            order = {"pending": 0, "starting": 1, "ready": 2}
            self._stop(min(reversed(self._pods), key=lambda pod: order[pod.state]))
        self._bind()

    def start_ready(self, count: int) -> None:
        """Have `count` pods that are ready now, as if they had been started long ago."""
        self.set(count)
        for pod in self._pods:
            if pod.state == "starting":
                self._is_ready(pod)

    def kill(self, count: int) -> None:
        """End `count` of those that are ready, photos and all; others are started in their place."""
        for pod in [pod for pod in self._pods if pod.state == "ready"][:count]:
            self._pods.remove(pod)
            replica = self._retire(pod)
            replica.kill()
            self.worked_s += replica.core_s
            self._devices.give()
        self.set(self.wanted)

    def roll(self, surge: int) -> None:
        """Replace all pods in turn, `surge` 1: the new one first, 0: the old one first.

        Meant for a time in which an autoscaler does not want fewer.
        """
        self._rolling = [pod for pod in self._pods if pod.state == "ready"]
        self._surge = surge
        self._roll_next()

    def _roll_next(self) -> None:
        self._rolling = [pod for pod in self._rolling if pod in self._pods]
        if not self._rolling:
            self._surge, self._replacement = 0, None
            self.set(self.wanted)
            return
        if not self._surge:
            self._stop(self._rolling.pop(0))
        self.set(self.wanted)
        self._replacement = self._pods[-1]

    def _bind(self) -> None:
        for pod in self._pods:
            if pod.state == "pending":
                wait = self._devices.take()
                if wait is None:
                    return
                pod.state = "starting"
                self._events.after(wait + self._start_s, self._is_ready, pod)

    def _is_ready(self, pod: Pod) -> None:
        if pod.state != "starting":
            return
        pod.state, pod.replica = "ready", self._make()
        self.ready.append(pod.replica)
        self._became_ready()
        if pod is self._replacement:
            if self._surge and self._rolling:
                self._stop(self._rolling.pop(0))
            self._roll_next()

    def _stop(self, pod: Pod) -> None:
        self._pods.remove(pod)
        if pod.state == "starting":
            self._devices.give()
        elif pod.state == "ready":
            self._events.after(self._stop_s, self._gone, self._retire(pod))
        pod.state = "stopping"

    def _retire(self, pod: Pod) -> Replica:
        assert pod.replica is not None
        self.ready.remove(pod.replica)
        return pod.replica

    def _gone(self, replica: Replica) -> None:
        if replica.inside:
            self._events.after(1.0, self._gone, replica)
            return
        self.worked_s += replica.core_s
        self._devices.give()
        self._bind()

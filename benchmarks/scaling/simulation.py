"""A day at the predictor: clients that ask and ask again, a gateway or an activator, pods, an autoscaler."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from benchmarks.scaling.arrivals import DAY
from benchmarks.scaling.events import Events
from benchmarks.scaling.parameters import Measured, Parameters
from benchmarks.scaling.pods import Deployment, Devices
from benchmarks.scaling.replicas import CpuDevice, CpuReplica, GpuDevice, GpuReplica, Photo, Replica

DRAWS = 10_007
LONGEST_RETRY_S = 60  # as in serving.predictors.admission


@dataclass
class Result:
    """What became of the photos, and what it took.

    Attributes:
        photos: that came.
        first: (n,) s, when those that were answered were sent for the first time.
        latency: (n,) s, from then to the answer.
        gave_up: photos whose client did.
        refusals: 429 and 503, however it went on.
        late: photos that were over their deadline.
        killed: photos lost with their pod, however it went on.
        device_h: device hours held.
        core_h: core hours worked.
        samples: (m, 4) each minute: s, pods ready, devices held, photos inside.
    """

    photos: int
    first: NDArray[np.float64]
    latency: NDArray[np.float64]
    gave_up: int
    refusals: int
    late: int
    killed: int
    device_h: float
    core_h: float
    samples: NDArray[np.float64]

    def percentile(self, share: float) -> float:
        """Of the latency of all photos in s; one that was given up took for ever."""
        rank = math.ceil(share / 100 * self.photos)
        return (
            float(np.partition(self.latency, rank - 1)[rank - 1]) if rank <= len(self.latency) else math.inf
        )

    def within(self, seconds: float) -> float:
        """The share of photos that were answered in time, 0-1."""
        return float((self.latency <= seconds).sum() / self.photos)


class Simulation:
    """One run. See `View` in autoscalers for what those see of it."""

    def __init__(
        self,
        parameters: Parameters,
        device: CpuDevice | GpuDevice,
        start_s: float,
        seed: int = 0,
        horizon: float = DAY,
        noise: Sequence[float] = (1.0,),
        concurrency: int | None = None,
    ):
        """Set up, with no pods.

        Args:
            parameters: all of them.
            device: what each pod has.
            start_s: of a pod on a device that knows its image.
            seed: of what the gateway and clients draw.
            horizon: s, when autoscalers stop.
            noise: factors on service times, used in turn.
            concurrency: None for a gateway that sends each photo to the less busy of two pods, as Envoy's
                LEAST_REQUEST does; else an activator that holds photos and lets so many into a pod.
        """
        self.parameters, self.device = parameters, device
        self.events = Events(horizon)
        self._noise = cycle(noise).__next__
        rng = np.random.default_rng(seed)
        self._uniform = cycle(rng.uniform(size=DRAWS).tolist()).__next__
        self.devices = Devices(self.events, parameters.nodes)
        self.pods = Deployment(
            self.events, self.devices, self._make, start_s, parameters.predictor.stop_s, self._pull
        )
        self._concurrency = concurrency
        self._held: deque[Photo] = deque()  # by the activator
        self._inside, self._inside_s = 0, 0.0
        self._first, self._latency = array("d"), array("d")
        self._counts = dict.fromkeys(("photos", "gave_up", "refusals", "deadline", "killed"), 0)
        self._samples: list[tuple[float, int, int, int]] = []

    def inside(self) -> int:
        """Photos that wait or are worked on, all together, now."""
        return self._inside

    def inside_s(self) -> float:
        """Its integral until now, photo seconds."""
        return self._inside_s + self._inside * self.events.now

    def cores(self) -> int:
        """Of one pod."""
        return self.device.cores

    def run(self, arrivals: Iterable[float], each_hour: Callable[[], None] | None = None) -> Result:
        """Let all photos come and be answered, or not. `each_hour` is for whoever watches."""
        self.events.every(60.0, self._sample)
        if each_hour:
            self.events.every(3600.0, each_hour, first=3600.0)
        held: list[float] = []
        self.events.after(self.events.horizon, lambda _: held.append(self.devices.held_s()))
        self.events.run(arrivals, self._arrive)
        self._counts["gave_up"] += len(self._held)  # nobody starts pods any more
        worked = self.pods.worked_s + sum(replica.core_s for replica in self.pods.ready)
        return Result(
            photos=self._counts["photos"],
            first=np.array(self._first),
            latency=np.array(self._latency),
            gave_up=self._counts["gave_up"],
            refusals=self._counts["refusals"],
            late=self._counts["deadline"],
            killed=self._counts["killed"],
            device_h=held[0] / 3600,
            core_h=worked / 3600,
            samples=np.array(self._samples, dtype=float).reshape(-1, 4),
        )

    def _make(self) -> Replica:
        kind = GpuReplica if isinstance(self.device, GpuDevice) else CpuReplica
        deadline_s = self.parameters.predictor.deadline_s
        return kind(self.device, self.events, self._done, self._lost, deadline_s, self._noise)

    def _arrive(self, now: float) -> None:
        self._counts["photos"] += 1
        self._send(Photo(now, 1, now))

    def _send(self, photo: Photo) -> None:
        photo = Photo(photo.first, photo.attempt, self.events.now)
        if self._concurrency:
            self._enter()
            self._held.append(photo)
            self._pull()
            return
        replica = self._choose()
        if replica is None:
            self._refuse(photo, self.parameters.client.retry_s)
        elif replica.offer(photo):
            self._enter()
        else:
            after = math.ceil(replica.inside / self.device.photos_per_s)
            self._refuse(photo, min(max(after, 1), LONGEST_RETRY_S))

    def _choose(self) -> Replica | None:
        ready = self.pods.ready
        if len(ready) < 2:
            return ready[0] if ready else None
        one = ready[int(self._uniform() * len(ready))]
        other = ready[int(self._uniform() * len(ready))]
        return one if one.inside <= other.inside else other

    def _pull(self) -> None:
        """Let the photos that the activator holds into pods that have room."""
        while self._held and self.pods.ready:
            replica = min(self.pods.ready, key=lambda each: each.inside)
            if replica.inside >= min(self._concurrency or 0, self.device.places):
                return
            photo = self._held.popleft()
            replica.offer(Photo(photo.first, photo.attempt, self.events.now))  # its deadline begins here

    def _enter(self) -> None:
        self._inside += 1
        self._inside_s -= self.events.now

    def _leave(self) -> None:
        self._inside -= 1
        self._inside_s += self.events.now

    def _done(self, photo: Photo, _replica: Replica) -> None:
        self._leave()
        self._first.append(photo.first)
        self._latency.append(self.events.now - photo.first)
        if self._held:
            self._pull()

    def _lost(self, photo: Photo, _replica: Replica, why: str) -> None:
        self._leave()
        self._counts[why] += 1
        self._again(photo, self.parameters.client.retry_s)

    def _refuse(self, photo: Photo, seconds: float) -> None:
        self._counts["refusals"] += 1
        self._again(photo, seconds)

    def _again(self, photo: Photo, seconds: float) -> None:
        client = self.parameters.client
        if photo.attempt >= client.tries:
            self._counts["gave_up"] += 1
            return
        seconds += self._uniform() * client.jitter_s
        self.events.after(seconds, self._send, photo._replace(attempt=photo.attempt + 1))

    def _sample(self) -> None:
        self._samples.append((self.events.now, len(self.pods.ready), self.devices.held, self._inside))


def cpu_device(parameters: Parameters, found: Measured) -> tuple[CpuDevice, float]:
    """What a CPU pod has, and s that it takes to start."""
    told = parameters.predictor
    device = CpuDevice(told.cores, told.least_places, found.alone_s, told.cores / found.photos_per_s)
    return device, told.ready_s + told.model_fetch_s + found.cold_start_s


def gpu_device(parameters: Parameters, found: Measured) -> tuple[GpuDevice, float]:
    """What a GPU pod has, and s that it takes to start."""
    told, gpu = parameters.predictor, parameters.gpu
    device = GpuDevice(
        cores=told.cores,
        places=max(told.least_places, 8 * gpu.lanes * gpu.max_batch),
        decode_s=found.decode_s,
        interpret_s=found.interpret_s,
        launch_s=gpu.launch_ms / 1000,
        photo_s=gpu.photo_ms / 1000,
        max_batch=gpu.max_batch,
    )
    return device, told.ready_s + told.model_fetch_s + found.cold_start_s + gpu.start_s


def noise(found: Measured, seed: int) -> list[float]:
    """Factors on service times as they were measured: lognormal, 1 on average."""
    rng = np.random.default_rng(seed)
    return rng.lognormal(-(found.sigma**2) / 2, found.sigma, DRAWS).tolist()

"""What a pod does with its photos: the scheduler of `serving.predictors`, seconds in place of work.

Nothing waits for company. On a CPU one photo alone has all cores, several share them, one on each. On a GPU
the cores decode and interpret, what is nearest to its answer first, and whenever the device is free it takes
what is decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.scaling.events import Events


class Photo(NamedTuple):
    """One photo of a client."""

    first: float  # s, when its client sent it for the first time
    attempt: int
    came: float  # s, to this pod


@dataclass(frozen=True)
class CpuDevice:
    """A predictor on `cores` cores; seconds from end to end."""

    cores: int
    places: int  # requests at a time
    alone_s: float
    lane_s: float  # on one core while the others work

    @property
    def photos_per_s(self) -> float:
        """At most."""
        return self.cores / self.lane_s


@dataclass(frozen=True)
class GpuDevice:
    """A predictor on one GPU with `cores` cores beside it."""

    cores: int
    places: int
    decode_s: float
    interpret_s: float
    launch_s: float
    photo_s: float  # of each photo in a batch, beyond launch_s
    max_batch: int

    @property
    def photos_per_s(self) -> float:
        """At most: of the cores, or of the GPU in full batches."""
        device = self.max_batch / (self.launch_s + self.max_batch * self.photo_s)
        return min(self.cores / (self.decode_s + self.interpret_s), device)


class Replica:
    """A pod that is ready, or was.

    Attributes:
        inside: photos that wait or are worked on.
        core_s: core seconds worked so far.
    """

    def __init__(
        self,
        device: Any,
        events: Events,
        done: Callable[[Photo, Replica], None],
        lost: Callable[[Photo, Replica, str], None],
        deadline_s: float,
        noise: Callable[[], float] = lambda: 1.0,
    ):
        """Make one.

        Args:
            device: CpuDevice or GpuDevice.
            events: of the simulation.
            done: told of each photo that is answered.
            lost: told of each that is not, and why: deadline or killed.
            deadline_s: from coming to being looked at; then it is given up.
            noise: the factor on the next seconds of work.
        """
        self.device, self.events, self.deadline_s = device, events, deadline_s
        self.done, self.lost = done, lost
        self.noise = noise
        self.inside = 0
        self.core_s = 0.0
        self.free = device.cores
        self.waiting: deque[Photo] = deque()
        self.dead = False

    def offer(self, photo: Photo) -> bool:
        """Take a photo, unless all places are taken."""
        if self.inside >= self.device.places:
            return False
        self.inside += 1
        self.waiting.append(photo)
        self.work()
        return True

    def kill(self) -> None:
        """End at once: what waits is lost now, what is worked on when it would have been done."""
        self.dead = True
        while self.waiting:
            self.leave(self.waiting.popleft(), "killed")

    def leave(self, photo: Photo, why: str = "") -> None:
        """Let a photo go, answered or, for a reason, not."""
        self.inside -= 1
        if why or self.dead:
            self.lost(photo, self, why or "killed")
        else:
            self.done(photo, self)

    def next_waiting(self) -> Photo | None:
        """Who is next and not too late."""
        while self.waiting:
            photo = self.waiting.popleft()
            if self.events.now - photo.came <= self.deadline_s:
                return photo
            self.leave(photo, "deadline")
        return None

    def work(self) -> None:
        """Begin whatever can be begun."""
        raise NotImplementedError


class CpuReplica(Replica):
    """A pod without a GPU."""

    def work(self) -> None:
        """Begin whatever can be begun."""
        device = self.device
        while self.free and (photo := self.next_waiting()) is not None:
            alone = self.free == device.cores and not self.waiting
            cores = device.cores if alone else 1
            seconds = (device.alone_s if alone else device.lane_s) * self.noise()
            self.free -= cores
            self.core_s += cores * seconds
            self.events.after(seconds, self._finish, (photo, cores))

    def _finish(self, what: tuple[Photo, int]) -> None:
        photo, cores = what
        self.free += cores
        self.leave(photo)
        if self.waiting:
            self.work()


class GpuReplica(Replica):
    """A pod with a GPU."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.decoded: deque[Photo] = deque()
        self.answered: deque[Photo] = deque()
        self.busy = False  # the GPU
        self.unpacked = 0

    def work(self) -> None:
        """Begin whatever can be begun."""
        device = self.device
        if self.decoded and not self.busy:
            batch = [self.decoded.popleft() for _ in range(min(len(self.decoded), device.max_batch))]
            self.busy = True
            seconds = device.launch_s + device.photo_s * len(batch)
            self.events.after(seconds * self.noise(), self._inferred, batch)
        while self.free:
            if self.answered:
                self._occupy(device.interpret_s, self._interpreted, self.answered.popleft())
            elif self.unpacked < 4 * device.max_batch and (photo := self.next_waiting()) is not None:
                self.unpacked += 1
                self._occupy(device.decode_s, self._decoded_one, photo)
            else:
                return

    def _occupy(self, seconds: float, then: Callable[[Any], None], photo: Photo) -> None:
        seconds *= self.noise()
        self.free -= 1
        self.core_s += seconds
        self.events.after(seconds, then, photo)

    def _decoded_one(self, photo: Photo) -> None:
        self.free += 1
        self.decoded.append(photo)
        self.work()

    def _inferred(self, batch: list[Photo]) -> None:
        self.busy = False
        self.answered.extend(batch)
        self.work()

    def _interpreted(self, photo: Photo) -> None:
        self.free += 1
        self.unpacked -= 1
        self.leave(photo)
        self.work()

"""What was seen of one training, as plain numbers: the rules read nothing else, so a recording can be kept.

A recording grows by a few numbers per step. It is written beside the checkpoints, so that a run that is
resumed is judged as a whole, and handed from the rank that trains to the process that reports.
"""

import json
import threading
from array import array
from collections.abc import MutableSequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stocktake.errors import DataError
from stocktake.files import atomic_path

ABSENT = -1.0  # mean |gradient| of a tensor that had no gradient in a step
SERIES = ("gpu", "gpu_memory", "cpu", "io_wait", "memory")  # of Samples


def _floats() -> MutableSequence[float]:
    return array("d")


def _integers() -> MutableSequence[int]:
    return array("q")


@dataclass
class Steps:
    """One entry per step."""

    step: MutableSequence[int] = field(default_factory=_integers)
    loss: MutableSequence[float] = field(default_factory=_floats)  # mean of the batch
    # from one backward pass to the next; NaN where it is not like the others: first of an epoch, or traced
    seconds: MutableSequence[float] = field(default_factory=_floats)


@dataclass
class Gradients:
    """One row per look at the gradients, one column per tensor that is trained, in the network's order."""

    names: list[str] = field(default_factory=list)
    is_weight: list[bool] = field(
        default_factory=list
    )  # a matrix or a kernel; not a bias, not a norm's scale
    step: MutableSequence[int] = field(default_factory=_integers)
    mean_abs: list[list[float]] = field(default_factory=list)  # ABSENT where there was none


@dataclass
class FirstSteps:
    """What the first steps show of the weights that the training began with."""

    layers: list[str] = field(default_factory=list)  # linear and convolution layers in the order of their use
    variance: list[list[float]] = field(default_factory=list)  # of each layer's output, a row per step
    spread: list[list[float]] = field(default_factory=list)  # 95th - 5th percentile of each tensor's gradient
    identical: list[str] = field(default_factory=list)  # weights whose units are still copies of one another


@dataclass
class Epoch:
    """The mean losses of an epoch; None where the trainer gave none."""

    epoch: int
    train: float | None = None
    val: float | None = None
    train_eval: float | None = None  # of train photos in eval mode, without augmentation
    steps: int = 0  # whose phases were timed
    phases: dict[str, float] = field(default_factory=dict)  # seconds of those steps, by phase
    steps_so_far: int = 0  # length of the recording's steps when it ended
    looks_so_far: int = 0  # and of its gradients


@dataclass
class Samples:
    """Looks at the machine in a steady rhythm, all in percent (0-100); `gpu` has a column per GPU.

    A thread appends while the training goes on: whoever reads meanwhile takes a snapshot.
    """

    hz: float = 2.0
    gpus: list[str] = field(default_factory=list)  # names of the GPUs that train
    gpu: list[list[float]] = field(default_factory=list)
    gpu_memory: list[list[float]] = field(default_factory=list)
    cpu: MutableSequence[float] = field(default_factory=_floats)  # of the cores that we may use
    io_wait: MutableSequence[float] = field(default_factory=_floats)  # of the time of all cores
    memory: MutableSequence[float] = field(default_factory=_floats)  # of the machine
    why_no_gpu: str = "no GPU was looked at"

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def begin(self, hz: float, gpus: list[str], why_no_gpu: str = "") -> None:
        """Go on with what is there, or start anew where it came from other GPUs or in another rhythm."""
        with self._lock:
            if (self.hz, self.gpus) != (hz, gpus):
                self._cut(0)
            self.hz, self.gpus = hz, gpus
            self.why_no_gpu = why_no_gpu or self.why_no_gpu

    def append(self, gpus: list[tuple[float, float]], cpu: float, io_wait: float, memory: float) -> None:
        """Add one look; `gpus` has use and memory of each GPU."""
        with self._lock:
            if self.gpus:
                self.gpu.append([use for use, _ in gpus])
                self.gpu_memory.append([used for _, used in gpus])
            self.cpu.append(cpu)
            self.io_wait.append(io_wait)
            self.memory.append(memory)

    def snapshot(self) -> "Samples":
        """A copy of this moment, with series of one length."""
        with self._lock:
            copies = {name: getattr(self, name)[:] for name in SERIES}
            return replace(self, **copies)

    def cut_to_shortest(self) -> None:
        """Drop what only some of the series have."""
        self._cut(min(len(getattr(self, name)) for name in (SERIES if self.gpus else SERIES[2:])))

    def _cut(self, count: int) -> None:
        for name in SERIES:
            del getattr(self, name)[count:]


@dataclass
class Operator:
    """One row of torch.profiler's table, over all traced steps."""

    name: str
    calls: int
    cpu_ms: float  # its own, without the operators that it calls
    device_ms: float


@dataclass
class Recording:
    """All that was seen of a training."""

    steps: Steps = field(default_factory=Steps)
    gradients: Gradients = field(default_factory=Gradients)
    first_steps: FirstSteps = field(default_factory=FirstSteps)
    epochs: list[Epoch] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    operators: list[Operator] = field(default_factory=list)
    traced_steps: int = 0
    start_seconds: float | None = None  # from the making of the monitor to the end of the first step
    loader_workers: int | None = None  # None = unknown
    cores: int = 0
    device: str = ""
    optimizer: str = ""

    def keep_epochs(self, count: int) -> None:
        """Drop what came after epoch `count`: an epoch that was cut short is trained and recorded again."""
        kept = [epoch for epoch in self.epochs if epoch.epoch <= count]
        steps, looks = (kept[-1].steps_so_far, kept[-1].looks_so_far) if kept else (0, 0)
        self.epochs = kept
        for series in (self.steps.step, self.steps.loss, self.steps.seconds):
            del series[steps:]
        del self.gradients.step[looks:]
        del self.gradients.mean_abs[looks:]

    def snapshot(self) -> "Recording":
        """The same with a copy of the samples, which grow in a thread of their own."""
        return replace(self, samples=self.samples.snapshot())

    def write(self, path: Path) -> Path:
        """Write it whole or not at all, as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            part.write_text(json.dumps(asdict(self.snapshot()), default=list))
        return path

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """Read what `write` has written; raises DataError where it is something else."""
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            samples = Samples(**data["samples"])
            samples.cut_to_shortest()
            return cls(
                **{
                    **data,
                    "steps": Steps(
                        array("q", data["steps"]["step"]),
                        array("d", data["steps"]["loss"]),
                        array("d", data["steps"]["seconds"]),
                    ),
                    "gradients": Gradients(**data["gradients"]),
                    "first_steps": FirstSteps(**data["first_steps"]),
                    "epochs": [Epoch(**epoch) for epoch in data["epochs"]],
                    "samples": samples,
                    "operators": [Operator(**row) for row in data["operators"]],
                }
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a recording of a training ({error}); delete it") from error


def table(rows: list[list[float]], columns: int) -> np.ndarray:
    """Rows of a recording as (rows, columns) float64, also where there are none."""
    return np.asarray(rows, float).reshape(len(rows), columns)

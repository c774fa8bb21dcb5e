"""Rules that read samples of GPU, CPU and disk; every one of them also appears in the profiler report."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stocktake.monitoring.recording import Recording, Samples, table
from stocktake.monitoring.results import RuleResult, State
from stocktake.monitoring.rule import Rule

PERCENTILES = (5, 25, 50, 75, 95, 99)
HISTOGRAM_BINS = 10


@dataclass(frozen=True)
class MachineRule(Rule):
    """A rule over samples: what happens before `patience` samples, such as loading a model, is not judged."""

    patience: int = 1000  # samples

    @property
    def needed(self) -> int:
        """Samples that it takes to judge."""
        return self.patience + 1

    def check(self, seen: Recording) -> RuleResult:
        """Judge the samples after the first `patience`, or say why there is nothing to judge."""
        samples = seen.samples
        if not samples.gpus:
            return self.not_evaluated(samples.why_no_gpu)
        if len(samples.gpu) < self.needed:
            return self.insufficient(len(samples.gpu), self.needed, "samples")
        return self.judge(samples, table(samples.gpu, len(samples.gpus)))

    def judge(self, samples: Samples, gpu: np.ndarray) -> RuleResult:
        """Judge; `gpu` is (samples, GPUs) float64 percent with more than `patience` rows."""
        raise NotImplementedError


@dataclass(frozen=True)
class WindowRule(MachineRule):
    """A rule over percentiles of the last samples, asked again and again."""

    window: int = 500  # last samples that the percentiles are of
    scan: int = 120  # samples between two judgements; a minute at 2 Hz

    @property
    def needed(self) -> int:
        """Samples that it takes to judge: those of the first judgement."""
        return self.patience + self.scan

    def windows(self, count: int) -> list[tuple[int, slice]]:
        """Number of samples at each judgement, every `scan` and at the end of `count`, and its window."""
        scans = sorted({*range(self.needed, count, self.scan), count})
        return [(at, slice(max(self.patience, at - self.window), at)) for at in scans]


@dataclass(frozen=True)
class LowGPUUtilization(WindowRule):
    """A GPU that has too little to do, or waits again and again."""

    threshold_p95: float = 70.0  # a 95th percentile under it: the GPU is under-used
    threshold_p5: float = 10.0  # a 5th percentile under it, where the 95th is not: it fluctuates

    def judge(self, samples: Samples, gpu: np.ndarray) -> RuleResult:
        """Look at the last window of every minute and of the end, per GPU."""
        violations = 0
        findings: dict[int, tuple[str, float, float, int]] = {}
        for at, window in self.windows(len(gpu)):
            low, high = np.percentile(gpu[window], (5, 95), axis=0)
            for number in range(gpu.shape[1]):
                if high[number] < self.threshold_p95 or low[number] < self.threshold_p5:
                    violations += 1
                    kind = "under-used" if high[number] < self.threshold_p95 else "fluctuates"
                    findings.setdefault(number, (kind, low[number], high[number], at))
        details = {f"gpu{n}": percentiles(gpu[self.patience :, n], "gpu") for n in range(gpu.shape[1])}
        points = gpu.size
        if not findings:
            busy = ", ".join(
                f"gpu{n} {np.median(gpu[self.patience :, n]):.0f} %" for n in range(gpu.shape[1])
            )
            return self.answer(State.NO_ISSUES, f"median use: {busy}", datapoints=points, details=details)
        number, (kind, low_5, high_95, at) = next(iter(sorted(findings.items())))
        reason = f"gpu{number} {kind}: 5th and 95th percentile {low_5:.0f} % and {high_95:.0f} %"
        where = f"gpu{number} after {at / samples.hz:.0f} s"
        return self.answer(State.ISSUES, reason, where=where, violations=violations, datapoints=points,
                           details=details)  # fmt: skip


@dataclass(frozen=True)
class BatchSize(WindowRule):
    """CPU, GPU and GPU memory all half idle: a larger batch would fit, or a smaller machine would do."""

    cpu_threshold_p95: float = 70.0
    gpu_threshold_p95: float = 70.0
    gpu_memory_threshold_p95: float = 70.0

    def judge(self, samples: Samples, gpu: np.ndarray) -> RuleResult:
        """Look at the last window of every minute and of the end, per GPU."""
        memory = table(samples.gpu_memory, gpu.shape[1])
        cpu = np.asarray(samples.cpu, float)
        violations, first = 0, None
        for at, part in self.windows(len(gpu)):
            cpu_95 = np.percentile(cpu[part], 95)
            gpu_95, memory_95 = (np.percentile(values[part], 95, axis=0) for values in (gpu, memory))
            idle = (gpu_95 < self.gpu_threshold_p95) & (memory_95 < self.gpu_memory_threshold_p95)
            idle &= cpu_95 < self.cpu_threshold_p95
            violations += int(idle.sum())
            if idle.any() and first is None:
                number = int(idle.argmax())
                first = (number, at, cpu_95, gpu_95[number], memory_95[number])
        if first is None:
            return self.answer(State.NO_ISSUES, "CPU, GPU or GPU memory is in use", datapoints=gpu.size)
        number, at, *used = first
        reason = "95th percentiles of CPU, GPU and GPU memory are {:.0f}, {:.0f} and {:.0f} %".format(*used)
        where = f"gpu{number} after {at / samples.hz:.0f} s"
        return self.answer(State.ISSUES, reason, where=where, violations=violations, datapoints=gpu.size)


@dataclass(frozen=True)
class _Bottleneck(MachineRule):
    """The GPU waits while something else is at its limit, for more than `threshold` percent of the time."""

    threshold: float = 50.0  # percent of the samples
    gpu_threshold: float = 10.0  # a GPU under it waits

    def judge(self, samples: Samples, gpu: np.ndarray) -> RuleResult:
        """Count the samples in which a GPU waits and the other thing is busy."""
        waits = gpu[self.patience :] < self.gpu_threshold
        held = waits & self._busy(samples)[self.patience :, None]
        share = 100 * held.mean(axis=0)
        worst = int(share.argmax())
        reason = f"gpu{worst} waited for it in {share[worst]:.0f} % of the samples"
        details = {f"gpu{n}": {"share": round(float(s), 1)} for n, s in enumerate(share)}
        fired = share[worst] > self.threshold
        state = State.ISSUES if fired else State.NO_ISSUES
        return self.answer(state, reason, violations=int(held.sum()), where=f"gpu{worst}" if fired else "",
                           datapoints=held.size, details=details)  # fmt: skip

    def _busy(self, samples: Samples) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class CPUBottleneck(_Bottleneck):
    """The GPU waits while the CPU is at its limit."""

    cpu_threshold: float = 90.0

    def _busy(self, samples: Samples) -> np.ndarray:
        return np.asarray(samples.cpu, float) > self.cpu_threshold


@dataclass(frozen=True)
class IOBottleneck(_Bottleneck):
    """The GPU waits while the CPU waits for disk or network."""

    io_threshold: float = 50.0

    def _busy(self, samples: Samples) -> np.ndarray:
        return np.asarray(samples.io_wait, float) > self.io_threshold


@dataclass(frozen=True)
class GPUMemoryIncrease(MachineRule):
    """GPU memory that jumps or creeps up: the mean of a window over that of the window before."""

    increase: float = 5.0  # points of percent
    window: int = 10

    def judge(self, samples: Samples, gpu: np.ndarray) -> RuleResult:
        """Compare neighbouring windows, per GPU."""
        memory = table(samples.gpu_memory, gpu.shape[1])[self.patience :]
        count = len(memory) // self.window
        if count < 2:
            return self.insufficient(len(memory), 2 * self.window, f"samples after the first {self.patience}")
        means = memory[: count * self.window].reshape(count, self.window, -1).mean(axis=1)
        steps = np.diff(means, axis=0)
        over = steps > self.increase
        row, number = np.unravel_index(int(steps.argmax()), steps.shape)
        reason = f"the largest increase between windows of {self.window} samples is {steps.max():.1f} points"
        after = (self.patience + (row + 1) * self.window) / samples.hz
        return self.answer(
            State.ISSUES if over.any() else State.NO_ISSUES, reason, violations=int(over.sum()),
            where=f"gpu{number} after {after:.0f} s" if over.any() else "", datapoints=memory.size,
        )  # fmt: skip


@dataclass(frozen=True)
class LoadBalancing(MachineRule):
    """GPUs of one training that are not used alike: the distance between the histograms of their use.

    The distance is half the sum of absolute differences of two histograms with tenths as bins: 0 = alike,
    1 = no overlap. The published rule does not say which one it takes.
    """

    threshold: float = 0.5

    def judge(self, samples: Samples, gpu: np.ndarray) -> RuleResult:  # noqa: ARG002
        """Compare all pairs of GPUs."""
        if gpu.shape[1] < 2:
            return self.not_evaluated("there is one GPU only")
        bins = np.linspace(0, 100, HISTOGRAM_BINS + 1)
        shares = [np.histogram(column, bins)[0] / len(column) for column in gpu[self.patience :].T]
        distances = {
            (a, b): 0.5 * float(np.abs(shares[a] - shares[b]).sum())
            for a, b in combinations(range(len(shares)), 2)
        }
        over = [pair for pair, distance in distances.items() if distance > self.threshold]
        a, b = max(distances, key=lambda pair: distances[pair])
        reason = f"the use of gpu{a} and gpu{b} differs by {distances[a, b]:.2f}"
        details = {f"gpu{a}-gpu{b}": round(distance, 3) for (a, b), distance in distances.items()}
        return self.answer(
            State.ISSUES if over else State.NO_ISSUES, reason, violations=len(over), details=details,
            where=f"gpu{a} and gpu{b}" if over else "", datapoints=gpu[self.patience :].size,
        )  # fmt: skip


def percentiles(values: np.ndarray, prefix: str) -> dict[str, float]:
    """Largest, smallest and percentiles, named as in SageMaker's reports: gpu_max, gpu_95 …"""
    found = {"max": values.max(), "min": values.min()}
    found |= {str(p): np.percentile(values, p) for p in PERCENTILES}
    return {f"{prefix}_{name}": float(f"{value:.4g}") for name, value in found.items()}

"""Fills a recording while a model trains: losses, gradients, times, samples and a short trace.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from stocktake.monitoring.monitor_settings import MonitorSettings
from stocktake.monitoring.recording import Epoch, Recording
from stocktake.monitoring.sampler import Sampler, gpus_of
from stocktake.monitoring.stopwatch import Stopwatch
from stocktake.monitoring.tensors import GradientReader, Reading, VarianceReader
from stocktake.monitoring.trace import Trace

FIRST_STEPS = 10  # that PoorWeightInitialization looks at
LOOKS = 1000  # after which the gradients are looked at half as often, and so on: a recording stays small
UNREAD = 64  # losses and gradients that may wait on the device


class Observer:
    """One model in training; made where its weights are the ones to start from."""

    def __init__(
        self,
        recording: Recording,
        settings: MonitorSettings,
        model: torch.nn.Module,
        gpus: Sequence[int] = (),
    ):
        self.recording = recording
        self.settings = settings
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._cuda = device.type == "cuda"
        recording.device = torch.cuda.get_device_name(device) if self._cuda else "CPU"
        self.stopwatch = Stopwatch(self._wait_for(device), settings.every)
        self._gradients = GradientReader(model)
        recording.gradients.names = self._gradients.names
        recording.gradients.is_weight = self._gradients.is_weight
        self._variances: VarianceReader | None = None
        if len(recording.first_steps.spread) < FIRST_STEPS:
            self._variances = VarianceReader(model)
        self._forward = model.register_forward_hook(self._after_forward)
        self._losses: list[float | torch.Tensor] = []
        self._rows: list[Reading] = []
        self._steps = 0  # of this process
        self._next_look = 0
        self._trace: Trace | None = None
        self._tracing = False
        self._traced_from = 0
        self._sampler = Sampler(recording.samples, settings.sample_hz, list(gpus) or gpus_of(model))

    def step(self, step: int, loss: float | torch.Tensor, grad_scale: float | Callable[[], float]) -> None:
        """Take in one step, see `TrainingMonitor.step`."""
        steps = self.recording.steps
        if self._variances is not None or self._tracing:
            self.stopwatch.leave_out()
        steps.seconds.append(self.stopwatch.step())
        steps.step.append(step)
        self._losses.append(loss.detach() if isinstance(loss, torch.Tensor) else float(loss))
        if self._variances is not None:
            self._first_step(self._variances, _number(grad_scale))
        if self._steps >= self._next_look:
            self._look(step, _number(grad_scale))
        if len(self._losses) >= UNREAD:
            self.read()
        self._steps += 1
        self._trace_steps()
        self.stopwatch.mark("monitor")

    def end_epoch(self, epoch: Epoch) -> None:
        """Take in the end of an epoch: everything is read, and its times are added up."""
        self._end_trace()
        self.read()
        epoch.steps, epoch.phases = self.stopwatch.take()
        epoch.steps_so_far = len(self.recording.steps.step)
        epoch.looks_so_far = len(self.recording.gradients.step)
        self.recording.epochs.append(epoch)

    def read(self) -> None:
        """Take what waits on the device into the recording."""
        tensors = [loss.float().reshape(()) for loss in self._losses if isinstance(loss, torch.Tensor)]
        values = iter(torch.stack(tensors).tolist() if tensors else [])
        self.recording.steps.loss.extend(
            [next(values) if isinstance(loss, torch.Tensor) else loss for loss in self._losses]
        )
        self.recording.gradients.mean_abs += [self._gradients.row(reading) for reading in self._rows]
        self._losses, self._rows = [], []

    def close(self) -> None:
        """Take the hooks off, end the thread and the trace, read what is left."""
        self._end_trace()
        self._sampler.close()
        self._forward.remove()
        if self._variances is not None:
            self._variances.close()
        self.read()

    def write_trace(self, path: Path) -> None:
        """Write the traced steps' timeline, where there is one."""
        if self._trace is not None:
            self._trace.write(path)

    def _first_step(self, variances: VarianceReader, grad_scale: float) -> None:
        first = self.recording.first_steps
        taken = variances.take()
        if not first.layers:
            first.layers = list(taken)
        if list(taken) == first.layers and taken:  # a network whose layers take turns is not compared
            first.variance.append(torch.stack(list(taken.values())).tolist())
        first.spread.append(self._gradients.row(self._gradients.spread(grad_scale)))
        if len(first.spread) >= FIRST_STEPS:
            first.identical = self._gradients.identical()
            variances.close()
            self._variances = None
            self.stopwatch.leave_out()

    def _look(self, step: int, grad_scale: float) -> None:
        self._rows.append(self._gradients.mean_abs(grad_scale))
        self.recording.gradients.step.append(step)
        looks = len(self.recording.gradients.step)
        self._next_look = self._steps + self.settings.every * 2 ** (looks // LOOKS)

    def _trace_steps(self) -> None:
        """Start the trace after step `trace_at` of this process, and end it `trace_steps` later."""
        wanted = self.settings.trace_steps
        if not wanted or self.recording.operators:
            return
        if self._trace is None and self._steps >= self.settings.trace_at:
            self._trace, self._tracing, self._traced_from = Trace(self._cuda), True, self._steps
        elif self._tracing and self._steps - self._traced_from >= wanted:
            self._end_trace()

    def _end_trace(self) -> None:
        if self._trace is None or not self._tracing:
            return
        self._tracing = False
        self.recording.traced_steps = self._steps - self._traced_from
        self.recording.operators = self._trace.stop()
        self.stopwatch.leave_out()

    def _after_forward(self, model: torch.nn.Module, _inputs: object, _output: object) -> None:
        if model.training:
            self.stopwatch.mark("forward")

    def _wait_for(self, device: torch.device) -> Callable[[], None] | None:
        return (lambda: torch.cuda.synchronize(device)) if self._cuda else None


def _number(grad_scale: float | Callable[[], float]) -> float:
    return grad_scale if isinstance(grad_scale, float | int) else grad_scale()

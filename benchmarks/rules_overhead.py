"""Time of a training step under the training rules beside the same step without them.

    python -m benchmarks.rules_overhead --model resnet50 --img 160 --batch 16 --steps 20 --rounds 5

One network trains `--steps` steps with a monitor and as many without, in changing order. The monitor does
what it does in a training: losses and times of every step, gradients of every tenth, samples of the machine
in its thread, which ends with the turn. Left out is what happens once in a run: the close look at the first
ten steps, which come before the first round, and the trace of three. The ratio is the median over rounds of
the two mean times. Beside it stands the ratio of the CPU times of the process, all threads included, which
other work on the machine does not blur. Goal: at most 1.02.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from stocktake.devices import prepare_torch
from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor
from stocktake.monitoring.observer import FIRST_STEPS
from stocktake.monitoring.recording import Recording

GOAL = 1.02
CLASSES = 5


def main() -> None:
    """Train in turn, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--model", default="resnet50", help="of torchvision (default: %(default)s)")
    parser.add_argument("--img", type=int, default=160, help="side in px (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="photos in a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    options = parser.parse_args()
    prepare_torch()
    loop = Loop(options)
    loop.run(FIRST_STEPS + 1, watched=True)
    ratios, cpu_ratios = [], []
    for number in range(options.rounds):
        order = (False, True) if number % 2 == 0 else (True, False)
        seconds = {watched: loop.run(options.steps, watched) for watched in order}
        (plain, plain_cpu), (ours, ours_cpu) = seconds[False], seconds[True]
        ratios.append(ours / plain)
        cpu_ratios.append(ours_cpu / plain_cpu)
        print(
            f"round {number + 1}: without {1e3 * plain:.1f} ms, with {1e3 * ours:.1f} ms a step,"
            f" ratio {ratios[-1]:.4f}, of CPU times {cpu_ratios[-1]:.4f}",
            flush=True,
        )
    recording = loop.recording
    print(
        f"{options.model}, {options.batch} photos of {options.img} px on {recording.device},"
        f" {torch.get_num_threads()} threads, {options.rounds} rounds of {options.steps} steps,"
        f" {len(recording.gradients.names)} tensors, {len(recording.gradients.step)} looks at gradients,"
        f" {len(recording.samples.cpu)} samples: median ratio {statistics.median(ratios):.4f},"
        f" of CPU times {statistics.median(cpu_ratios):.4f} (goal: at most {GOAL})"
    )


class Loop:
    """A network in training, watched or not."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torchvision

        torch.manual_seed(0)
        self.device = torch.device(options.device)
        network = torchvision.models.get_model(options.model, num_classes=CLASSES)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=3e-4)
        photos = torch.rand(options.batch, 3, options.img, options.img, device=self.device)
        self.photos = photos.contiguous(memory_format=torch.channels_last)
        self.classes = torch.arange(options.batch, device=self.device) % CLASSES
        self.recording = Recording()

    def run(self, steps: int, watched: bool) -> tuple[float, float]:
        """Train this many steps; return the mean seconds of one, and the mean CPU seconds."""
        monitor = TrainingMonitor(MonitorSettings(trace_steps=0)) if watched else None
        if monitor:
            monitor.recording = self.recording
            monitor.start(self.network, self.optimizer, loader_workers=0)
        mark: Callable[[str], None] = monitor.mark if monitor else lambda _: None
        self._wait()
        begun, begun_cpu = time.perf_counter(), time.process_time()
        for step in range(steps):
            mark("data wait")
            loss = nn.functional.cross_entropy(self.network(self.photos), self.classes)
            loss.backward()
            if monitor:
                monitor.step(step, loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            mark("optimizer")
        self._wait()
        seconds, cpu = (time.perf_counter() - begun) / steps, (time.process_time() - begun_cpu) / steps
        if monitor:
            monitor.finish()
        return seconds, cpu

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


if __name__ == "__main__":
    main()

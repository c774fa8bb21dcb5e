"""Looks at GPUs, CPU and disk in a steady rhythm, in a thread beside the training."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stocktake.monitoring.recording import Samples

log = logging.getLogger(__name__)

Look = Callable[[], list[tuple[float, float]]]  # use and memory of each GPU in percent


class Sampler:
    """Appends to `samples` until it is closed.

    Args:
        samples: that grows; its `hz` and GPUs are set here.
        hz: looks in a second; 0 = none.
        devices: CUDA numbers of the GPUs that train; [] on CPU.
    """

    def __init__(self, samples: Samples, hz: float, devices: list[int]):
        self.samples = samples
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if not hz:
            samples.begin(hz, [], "sampling is switched off")
            return
        look = open_gpus(samples, hz, devices)
        self._thread = threading.Thread(target=self._run, args=(look,), name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for the thread to end."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, look: Look) -> None:
        import psutil

        usable = sorted(os.sched_getaffinity(0))
        psutil.cpu_percent(percpu=True)  # the first call has nothing to compare with
        psutil.cpu_times_percent()
        due = time.monotonic()
        while True:
            due = max(due + 1 / self.samples.hz, time.monotonic())
            if self._closed.wait(due - time.monotonic()):
                return
            try:
                self._sample(psutil, usable, look)
            except Exception as error:  # a look at the machine never ends a training
                log.warning("the machine is no longer sampled: %s", error)
                return

    def _sample(self, psutil: Any, usable: list[int], look: Look) -> None:
        gpus = look()
        cores = psutil.cpu_percent(percpu=True)
        mine = [cores[core] for core in usable if core < len(cores)] or cores
        wait = getattr(psutil.cpu_times_percent(), "iowait", 0.0)  # Linux alone has it
        self.samples.append(gpus, sum(mine) / len(mine), wait, psutil.virtual_memory().percent)


def open_gpus(samples: Samples, hz: float, devices: list[int]) -> Look:
    """Name the GPUs in `samples` and return how to look at them; a reason instead where there are none."""
    if not devices:
        samples.begin(hz, [], "the training runs on the CPU")
        return list
    import torch

    try:
        import pynvml

        pynvml.nvmlInit()
        # by UUID: CUDA numbers the visible GPUs, NVML all of them
        handles = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{_uuid(torch, number)}") for number in devices]
    except Exception as error:
        samples.begin(hz, [], f"NVML does not answer: {error}")
        return list
    samples.begin(hz, [str(torch.cuda.get_device_name(number)) for number in devices])

    def look() -> list[tuple[float, float]]:
        found = []
        for handle in handles:
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            use = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
            found.append((float(use), 100 * memory.used / memory.total))
        return found

    return look


def gpus_of(model: Any) -> list[int]:
    """CUDA numbers of the GPUs that train a model: its own, or those of all ranks on this machine."""
    device = next((p.device for p in model.parameters()), None)
    if device is None or device.type != "cuda":
        return []
    with suppress(ValueError):
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if ranks > 1:
            return list(range(ranks))
    return [device.index or 0]


def _uuid(torch: Any, number: int) -> str:
    return str(torch.cuda.get_device_properties(number).uuid)

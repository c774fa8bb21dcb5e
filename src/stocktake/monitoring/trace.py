"""A torch.profiler trace of a few steps. Importing this module imports torch."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import tempfile
from pathlib import Path

from torch import profiler
from torch.autograd import profiler as autograd_profiler

from stocktake.files import atomic_path
from stocktake.monitoring.recording import Operator

log = logging.getLogger(__name__)

OPERATORS = 15  # that are kept, by their cost


class Trace:
    """Records from its making until `stop`; nothing where another profiler is at work."""

    def __init__(self, cuda: bool) -> None:
        self._profiler: profiler.profile | None = None
        if autograd_profiler._is_profiler_enabled:  # ours would end it
            log.warning("no steps are traced: another profiler is at work")
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its own starts and stops as errors
        activities = [profiler.ProfilerActivity.CPU] + [profiler.ProfilerActivity.CUDA] * cuda
        self._profiler = profiler.profile(activities=activities)
        self._profiler.start()

    def stop(self) -> list[Operator]:
        """End the recording and return the operators that cost most, the dearest first."""
        if self._profiler is None:
            return []
        self._profiler.stop()
        rows = [
            Operator(
                row.key,
                row.count,
                row.self_cpu_time_total / 1e3,
                getattr(row, "self_device_time_total", 0) / 1e3,
            )
            for row in self._profiler.key_averages()
        ]
        on_device = any(row.device_ms for row in rows)
        rows.sort(key=lambda row: row.device_ms if on_device else row.cpu_ms, reverse=True)
        return rows[:OPERATORS]

    def write(self, path: Path) -> None:
        """Write the timeline for Perfetto or chrome://tracing, gzipped; nothing where none was recorded."""
        if self._profiler is None:
            return
        with tempfile.TemporaryDirectory() as folder, atomic_path(path) as part:
            plain = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(plain))
            with plain.open("rb") as source, gzip.open(part, "wb") as target:
                shutil.copyfileobj(source, target)

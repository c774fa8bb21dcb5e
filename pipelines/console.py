"""What a person sees of a local run: one line per event of a task, and its progress in between."""

import shutil
import threading
import time
from typing import TextIO

PLAIN_INTERVAL_S = 15.0  # how often progress is repeated where lines cannot be overwritten
PLAIN_WIDTH = 160


class Console:
    """Writes to `stream`; on a terminal the last line follows the running task, elsewhere it is sampled.

    Safe to call from the threads of a parallel loop.
    """

    def __init__(self, stream: TextIO, tasks: int) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._total = tasks
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._shown_at: dict[str, float] = {}

    def event(self, task: str, text: str) -> None:
        """Write a line that stays: the task started, finished, was kept or failed."""
        with self._lock:
            number = self._numbers.setdefault(task, len(self._numbers) + 1)
            self._shown_at[task] = time.monotonic()
            self._clear()
            self._write(f"[{number}/{max(self._total, number)}] {task}: {text}\n")

    def progress(self, task: str, text: str, seconds: float) -> None:
        """Show the newest line that the task wrote, `seconds` after its start."""
        line = f"      {int(seconds) // 60:02d}:{int(seconds) % 60:02d} {text}"
        with self._lock:
            if self._live:
                self._clear()
                self._write(line[: shutil.get_terminal_size().columns - 1])
            elif time.monotonic() - self._shown_at.get(task, 0.0) >= PLAIN_INTERVAL_S:
                self._shown_at[task] = time.monotonic()
                self._write(f"{line[:PLAIN_WIDTH]}\n")

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

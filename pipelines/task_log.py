"""Reads what a task wrote: the lines worth showing while it runs, and the cause when it failed."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

_EXECUTOR_PREFIX = re.compile(r"^\[KFP Executor [^\]]*\]: ")
_EXECUTOR_CHATTER = (
    "Looking for component", "Loading KFP component", "Wrote executor output file", "Did not write output",
)  # fmt: skip
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MODULE_PATH = re.compile(r"^(?:\w+\.)+(?=\w+(?::|$))")
_TRACEBACK = "Traceback (most recent call last):"
_TAIL_LINES = 400
_CAUSE_LINES = 12


class LineReader:
    """Cuts what a terminal received into lines; a carriage return ends one that will be overwritten."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[str, bool]]:
        """Yield (line, whether it stays) for what `data` completes, without colours and trailing blanks.

        A bar that is redrawn yields a line each time, and only the last one stays.
        """
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            *redrawn, last = line.split(b"\r")
            yield from ((_plain(text), False) for text in redrawn if text)
            yield _plain(last), True
        ending = b"\r" if self._rest.endswith(b"\r") else b""  # of a line, or half of one
        *redrawn, last = self._rest.removesuffix(ending).split(b"\r")
        self._rest = last + ending
        yield from ((_plain(text), False) for text in redrawn if text)

    def rest(self) -> str:
        """Return the line that was never ended."""
        return _plain(self._rest.rstrip(b"\r").rpartition(b"\r")[2])


def _plain(text: bytes) -> str:
    return _ANSI.sub("", text.decode(errors="replace")).rstrip()


class ExecutorFilter:
    """Drops what kfp's executor says about itself: module paths and the whole input as JSON."""

    def __init__(self) -> None:
        self._in_dump = False

    def __call__(self, line: str) -> str | None:
        """Return the line as a person wants it, or None."""
        text, is_executor = _EXECUTOR_PREFIX.subn("", line)
        if is_executor:
            self._in_dump = text.startswith("Got executor_input:")
            return None if self._in_dump or text.startswith(_EXECUTOR_CHATTER) else text
        if self._in_dump:
            self._in_dump = line != "}"
            return None
        return line


def cause_of_failure(log: Path, return_code: int) -> str:
    """Say why a task ended: its last exception, the signal that ended it, or the last line that it wrote."""
    number = -return_code if return_code < 0 else return_code - 128
    if number in set(signal.Signals):
        hint = ", most often because memory ran out" if number == signal.SIGKILL else ""
        return f"ended by {signal.Signals(number).name}{hint}"
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    starts = [place for place, line in enumerate(lines) if line.strip() == _TRACEBACK]
    message = _after_frames(lines[starts[-1] + 1 :]) if starts else []
    if message:
        return "\n".join([_MODULE_PATH.sub("", message[0]), *message[1:]])
    written = [line for line in lines if line.strip()]
    return written[-1].strip() if written else f"exit status {return_code} and no output"


def _after_frames(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if line and not line[0].isspace():
            return [text for text in lines[number : number + _CAUSE_LINES] if text.strip()]
    return []

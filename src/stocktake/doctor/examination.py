"""Runs checks side by side, and writes a line for each in the order of their table."""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, Queue
from typing import TextIO

from stocktake.cluster.api import Forbidden
from stocktake.doctor.finding import Finding, Status, Unseen, fail, warn
from stocktake.errors import StocktakeError

log = logging.getLogger(__name__)

COLOURS = {Status.OK: "32", Status.WARN: "33", Status.FAIL: "31"}
NAME_WIDTH = 22
PASSWORD = re.compile(r"://[^/\s@]+@")  # and the user before it, in an address

Check = Callable[[], Finding]


def examine(checks: Mapping[str, Check], timeout_s: float) -> Iterator[tuple[str, Finding]]:
    """Start all checks; yield each with its name as soon as it and those before it are done.

    A check that has not answered `timeout_s` after the start is a failure, and is not waited for.
    """
    deadline = time.monotonic() + timeout_s
    answers: dict[str, Queue[Finding]] = {name: Queue(1) for name in checks}
    for name, check in checks.items():
        # No pool: its threads would be waited for at the end of the program.
        threading.Thread(target=_answer, args=(check, answers[name]), name=name, daemon=True).start()
    for name, answer in answers.items():
        try:
            yield name, answer.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            yield name, fail(f"no answer within {timeout_s:g} s", "look whether its server is up")


def report(checks: Mapping[str, Check], stream: TextIO, timeout_s: float) -> int:
    """Run the checks and write their lines, in colour on a terminal; return how many failed."""
    colour = stream.isatty() and "NO_COLOR" not in os.environ
    failures = 0
    for name, finding in examine(checks, timeout_s):
        stream.write(f"{line(name, finding, colour)}\n")
        stream.flush()
        failures += finding.status is Status.FAIL
    return failures


def line(name: str, finding: Finding, colour: bool = False) -> str:
    """A finding as one line of text."""
    status = f"{finding.status:<4}"
    if colour:
        status = f"\x1b[{COLOURS[finding.status]}m{status}\x1b[0m"
    told = f"{finding.found}; {finding.mend}" if finding.mend else finding.found
    return f"{status}  {name:<{NAME_WIDTH}}  {PASSWORD.sub('://…@', ' '.join(told.split()))}"


def _answer(check: Check, answer: Queue[Finding]) -> None:
    try:
        answer.put(check())
    except Forbidden as error:
        answer.put(warn(f"this account may not look ({error})", "ask somebody who may to run this"))
    except Unseen as error:
        answer.put(warn(str(error)))
    except StocktakeError as error:
        answer.put(fail(str(error)))
    except Exception as error:  # one check that stumbles over what it finds must not silence the others
        log.debug("%s failed", threading.current_thread().name, exc_info=True)
        answer.put(fail(f"the check itself failed: {type(error).__name__}: {error}"))

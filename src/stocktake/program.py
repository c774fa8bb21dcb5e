"""What every program does with an error that its user can fix: one line and an exit status."""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stocktake.errors import StocktakeError
from stocktake.files import explain_os_error

log = logging.getLogger(__name__)


def run_program(name: str, action: Callable[[], None], resume_hint: str = "") -> int:
    """Run `action`; return the exit status: 0 done, 1 an error that the user can fix, 130 stopped.

    Ctrl-C stops it, and so does SIGTERM, so that what a cluster takes down can tidy up. Errors go to stderr
    as one line; their tracebacks to the log, at the level DEBUG.

    Args:
        name: of the program, before each line.
        action: all that the program does.
        resume_hint: what to do after it was stopped.
    """
    try:
        with _stopped_by_sigterm():
            action()
    except StocktakeError as error:
        return _fail(name, str(error))
    except OSError as error:
        return _fail(name, explain_os_error(error, error.filename or "a file"))
    except KeyboardInterrupt:
        print(f"\n{name}: stopped{resume_hint and '; '}{resume_hint}", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no other may have handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _fail(name: str, message: str) -> int:
    log.debug("failed", exc_info=True)
    print(f"{name}: {message}", file=sys.stderr)
    return 1

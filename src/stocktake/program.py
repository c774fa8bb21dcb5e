"""What every program does with an error that its user can fix: one line and an exit status."""

import logging
import sys
from collections.abc import Callable

from stocktake.errors import StocktakeError
from stocktake.files import explain_os_error

log = logging.getLogger(__name__)


def run_program(name: str, action: Callable[[], None], resume_hint: str = "") -> int:
    """Run `action`; return the exit status: 0 done, 1 an error that the user can fix, 130 stopped by Ctrl-C.

    Errors go to stderr as one line; their tracebacks to the log, at the level DEBUG.

    Args:
        name: of the program, before each line.
        action: all that the program does.
        resume_hint: what to do after Ctrl-C.
    """
    try:
        action()
    except StocktakeError as error:
        return _fail(name, str(error))
    except OSError as error:
        return _fail(name, explain_os_error(error, error.filename or "a file"))
    except KeyboardInterrupt:
        print(f"\n{name}: stopped{resume_hint and '; '}{resume_hint}", file=sys.stderr)
        return 130
    return 0


def _fail(name: str, message: str) -> int:
    log.debug("failed", exc_info=True)
    print(f"{name}: {message}", file=sys.stderr)
    return 1

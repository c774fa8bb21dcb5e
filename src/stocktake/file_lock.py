"""Locks on open files, which the system lets go of when the last process that has the file open ends."""

import contextlib
import fcntl
import logging
import time

log = logging.getLogger(__name__)

POLL_S = 0.05


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file; False where another process, or another open file of this one, holds it.

    A file system without locks is warned of, and then all have it.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("files can't be locked here (%s): work in one folder from one process only", error)
    return True


def lock_within(descriptor: int, seconds: float) -> bool:
    """Lock an open file as soon as nobody else holds it; False where that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def unlock(descriptor: int) -> None:
    """Let go of a lock, for all processes that have this open file."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)

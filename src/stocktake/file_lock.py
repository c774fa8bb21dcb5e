"""Locks on open files, which the system lets go of when the last process that has the file open ends."""

import contextlib
import fcntl
import logging

log = logging.getLogger(__name__)


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


def unlock(descriptor: int) -> None:
    """Let go of a lock, for all processes that have this open file."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)

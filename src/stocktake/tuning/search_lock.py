"""Locks on the folder of a search: one search at a time, and none before the last one's processes ended."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stocktake.errors import SettingsError
from stocktake.file_lock import lock_within, try_lock, unlock

WAIT_S = 30.0  # a killed search's processes and their loaders end within seconds


@contextmanager
def search_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for a search; enter only when no process of an earlier one is left.

    The system lets go of both locks when their processes end, in whatever way.

    Raises:
        SettingsError: another search has it, or processes of a killed one do not end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".search.lock").open("w") as search, (folder / ".trials.lock").open("w") as trials:
        if not try_lock(search.fileno()):
            raise SettingsError(f"{folder} is in use by another search; wait for it, or take another --study")
        if not lock_within(trials.fileno(), WAIT_S):
            raise SettingsError(
                f"{folder}: trials of an earlier search still run; end the processes that"
                f" `fuser {folder / '.trials.lock'}` names"
            )
        unlock(trials.fileno())
        yield


def hold_for_trials(folder: Path) -> int:
    """Let this process and all that it forks count as processes of the search; returns the open file."""
    lock = os.open(folder / ".trials.lock", os.O_RDWR | os.O_CREAT)
    try_lock(lock, shared=True)  # no search has it while trials start
    return lock

"""The folder of one training: what it was started with, how far it is, and whether it can be continued."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from stocktake.errors import SettingsError
from stocktake.file_lock import lock_within, unlock
from stocktake.files import atomic_path

LEAVE_SECONDS = 15.0  # in which ranks whose caller was killed have ended
Progress = Callable[[Path], tuple[int, int]]


class State(Enum):
    """How far a run is."""

    NEW = "new"  # no checkpoint yet
    STOPPED = "stopped"  # epochs left
    TRAINED = "trained"  # all epochs done, not measured yet
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run; `path` holds what its trainer writes too."""

    path: Path
    read_progress: Progress  # of a checkpoint: epochs in it, and epochs wanted; equal where none are left

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "weights" / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best figures on the val photos."""
        return self.path / "weights" / "best.pt"

    @property
    def result(self) -> Path:
        """What was measured at the end; its presence says that the run is over."""
        return self.path / "result.json"

    def state(self) -> State:
        """Look at the files."""
        if self.result.is_file():
            return State.MEASURED
        if not self.last.is_file():
            return State.NEW
        done, wanted = self.progress()
        return State.STOPPED if done < wanted else State.TRAINED

    def progress(self) -> tuple[int, int]:
        """Epochs in the newest checkpoint, and epochs wanted; equal for one that was finished."""
        return self.read_progress(self.last)

    def epochs_done(self) -> int:
        """Epochs that are done, however far the run is."""
        state = self.state()
        if state is State.MEASURED:
            return int(json.loads(self.result.read_text())["epochs"])
        return 0 if state is State.NEW else self.progress()[0]

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from training in this folder until the block ends.

        Raises:
            SettingsError: another process trains there and goes on for `LEAVE_SECONDS`.
        """
        with (self.path / "lock").open("a") as file:  # which writes nothing, if it is there
            os.set_inheritable(file.fileno(), True)  # for `launch_ranks`
            if not lock_within(file.fileno(), LEAVE_SECONDS):
                raise SettingsError(
                    f"{self.path}: another process is training there; wait until it has ended, or take"
                    " another name"
                )
            try:
                yield
            finally:
                unlock(file.fileno())  # a process that loads photos may have the file open for longer


def open_run(
    root: Path, name: str, identity: dict[str, Any], resume: bool, read_progress: Progress
) -> RunFolder:
    """The folder of a run of this identity below `root`: the one that was begun, or a new one.

    Args:
        root: folder of runs.
        name: of the run; name2, name3 … where another run has it.
        identity: JSON; a run is continued only if all of it is equal.
        resume: False = always a new folder.
        read_progress: see `RunFolder`.
    """
    number = 1
    while True:
        folder = RunFolder(root / (name if number == 1 else f"{name}{number}"), read_progress)
        note = folder.path / "run.json"
        if not folder.path.exists() or not any(folder.path.iterdir()):
            folder.path.mkdir(parents=True, exist_ok=True)
            with atomic_path(note) as part:
                part.write_text(json.dumps(identity, indent=2, sort_keys=True))
            return folder
        if resume and note.is_file() and json.loads(note.read_text()) == json.loads(json.dumps(identity)):
            return folder
        number += 1

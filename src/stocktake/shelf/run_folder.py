"""The folder of one training: what it was started with, how far it is, and whether it can be continued."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from stocktake.errors import ModelError
from stocktake.files import atomic_path


class State(Enum):
    """How far a run is."""

    NEW = "new"  # no checkpoint yet
    STOPPED = "stopped"  # epochs left
    TRAINED = "trained"  # all epochs done, not measured yet
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run; `path` holds what ultralytics writes too."""

    path: Path

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
        checkpoint = _load(self.last)
        wanted = int(checkpoint["train_args"]["epochs"])
        return (wanted if checkpoint["epoch"] < 0 else int(checkpoint["epoch"]) + 1), wanted


def open_run(root: Path, name: str, identity: dict[str, Any], resume: bool) -> RunFolder:
    """The folder of a run of this identity below `root`: the one that was begun, or a new one.

    Args:
        root: folder of runs.
        name: of the run; name2, name3 … where another run has it.
        identity: JSON; a run is continued only if all of it is equal.
        resume: False = always a new folder.
    """
    number = 1
    while True:
        folder = RunFolder(root / (name if number == 1 else f"{name}{number}"))
        note = folder.path / "run.json"
        if not folder.path.exists() or not any(folder.path.iterdir()):
            folder.path.mkdir(parents=True, exist_ok=True)
            with atomic_path(note) as part:
                part.write_text(json.dumps(identity, indent=2, sort_keys=True))
            return folder
        if resume and note.is_file() and json.loads(note.read_text()) == json.loads(json.dumps(identity)):
            return folder
        number += 1


def _load(path: Path) -> dict[str, Any]:
    from stocktake.shelf.ultralytics_setup import load_ultralytics

    load_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        return dict(torch_safe_load(str(path))[0])
    except Exception as error:
        raise ModelError(
            f"{path}: a checkpoint that cannot be read ({error}); delete its run's folder"
        ) from error

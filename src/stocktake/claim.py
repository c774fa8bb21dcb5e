"""The folder of a workflow belongs to one training: another one must not replace its model."""

import json
from pathlib import Path

from stocktake.errors import SettingsError
from stocktake.files import atomic_path


def claim(folder: Path, identity: dict[str, object]) -> None:
    """Note in settings.json what a folder is for, as long as nothing was trained there.

    Args:
        folder: of a workflow; its runs are in train*/, its model dir is model/.
        identity: what the model depends on, JSON.

    Raises:
        SettingsError: a model of another identity was trained there, or nobody knows which.
    """
    note = folder / "settings.json"
    wanted = json.loads(json.dumps(identity))
    if _was_trained(folder):
        found = _read_note(note)
        changed = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        if changed:
            what = ", ".join(f"{key} was {found.get(key)!r}, now {wanted.get(key)!r}" for key in changed)
            raise SettingsError(f"{folder} belongs to another training ({what}); take another --name")
        return
    with atomic_path(note) as part:
        part.write_text(json.dumps(wanted, indent=2) + "\n")


def _was_trained(folder: Path) -> bool:
    """True where there is a checkpoint or a model that another training would replace."""
    return any(folder.glob("train*/**/*.pt")) or any(folder.glob("model/*"))


def _read_note(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path}: cannot be read ({error}), so nobody knows what was trained there; take another --name"
        ) from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: expected a JSON object, found {found!r}; take another --name")
    return found

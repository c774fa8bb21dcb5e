"""Manifests as files for kubectl."""

from pathlib import Path
from typing import Any

import yaml

from stocktake.errors import SettingsError
from stocktake.files import atomic_path, explain_os_error


def write_manifests(path: Path, *documents: dict[str, Any]) -> Path:
    """Write objects as YAML, whole or not at all.

    Raises:
        SettingsError: the file can't be written.
    """
    try:
        with atomic_path(path) as part:
            part.write_text(yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120))
    except OSError as error:
        raise SettingsError(explain_os_error(error, path)) from error
    return path


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice: kubectl reads aliases, people do not."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

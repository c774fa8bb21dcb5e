"""A line of JSON per finished item, so that a killed run continues where it stopped."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stocktake.errors import StoreError
from stocktake.files import atomic_path, explain_os_error


class Journal:
    """Records by name in an append-only file; each line reaches the operating system before `add` returns.

    The first line tells what the run is about. A journal of another run is begun anew; a last line that a
    kill cut short is left out.
    """

    def __init__(self, path: Path, about: dict[str, Any]):
        self.path = path
        self._about = about
        self.records: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        """Read what is there and open the file for more."""
        try:
            lines = self._read()
            with atomic_path(self.path) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in [self._about, *lines]), "utf-8")
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise StoreError(explain_os_error(error, self.path)) from error
        self.records = {line["name"]: line for line in lines}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; it stays, so that another run has nothing to do over."""
        self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Append a record; it must have a `name`."""
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise StoreError(explain_os_error(error, self.path)) from error
        self.records[record["name"]] = record

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = []
        for text in self.path.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:  # cut short by a kill: this item is done again
                break
        return lines[1:] if lines and lines[0] == self._about else []

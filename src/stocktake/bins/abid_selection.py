"""Which bins are asked for: those of a file list, the first few of each count, or all."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stocktake.bins.abid_ids import id_of
from stocktake.bins.abid_metadata import load_object
from stocktake.errors import DataError
from stocktake.files import read_file
from stocktake.setting_checks import expect_whole

MOST = 2**31 - 1


@dataclass
class Selection:
    """Takes bins in the order of their ids until quota and limit are reached.

    Attributes:
        quota: bins of each count, by count; None takes any. A count that is absent has none.
        limit: bins in all.
    """

    quota: dict[int, int] | None = None
    limit: int | None = None
    taken: Counter[int] = field(default_factory=Counter)
    total: int = 0  # threads ask while another one takes, so it is not summed up over `taken`

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> "Selection":
        """The selection that JSON tells of: quota by count, the counts as strings, and limit."""
        quota = about["quota"]
        return cls(quota and {int(count): most for count, most in quota.items()}, about["limit"])

    def take(self, quantity: int) -> None:
        """Count a bin that was taken."""
        self.taken[quantity] += 1
        self.total += 1

    def wants(self, quantity: int) -> bool:
        """Whether a bin of this count would be taken now."""
        if self.quota is not None and self.taken[quantity] >= self.quota.get(quantity, 0):
            return False
        return self.limit is None or self.total < self.limit

    @property
    def is_full(self) -> bool:
        """Whether no bin of any count would be taken any more."""
        if self.limit is not None and self.total >= self.limit:
            return True
        return self.quota is not None and all(self.taken[count] >= most for count, most in self.quota.items())


@dataclass(frozen=True)
class FileList:
    """The ids of a file list with the count that it files each under, and ids that it names again."""

    counts: dict[str, int]
    repeated: dict[str, str]  # id -> where

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what it asks for."""
        return hashlib.sha256(json.dumps(self.counts, sort_keys=True).encode()).hexdigest()


def read_file_list(path: Path) -> FileList:
    """Read a dict of count -> list of metadata paths, such as {"1": ["data/metadata/100313.json", …]}.

    Raises:
        DataError: it is not of this form; the message names the file, the count and what was found.
        StoreError: it can't be read.
    """
    try:
        content = load_object(read_file(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    counts: dict[str, int] = {}
    repeated: dict[str, str] = {}
    for key, paths in content.items():
        if not (key.isascii() and key.isdigit()):
            raise DataError(f"{path}: the key {key[:40]!r} is no count; expected '1', '2', …")
        if not isinstance(paths, list) or not all(isinstance(entry, str) and id_of(entry) for entry in paths):
            raise DataError(f"{path}: the value of {key!r} is no list of paths like 'metadata/00012.json'")
        for bin_id in map(id_of, paths):
            if bin_id in counts:
                repeated[bin_id] = f"listed under {counts[bin_id]}, and again under {int(key)}"
            counts.setdefault(bin_id, int(key))
    if not counts:
        raise DataError(f"{path}: names no bin; expected a dict of count -> list of metadata paths")
    return FileList(counts, repeated)


def check_selection(quota: dict[int, int] | None, limit: int | None) -> None:
    """Refuse impossible numbers.

    Raises:
        SettingsError: names the argument and what was found.
    """
    if limit is not None:
        expect_whole("limit", limit, 1, MOST)
    for count, most in (quota or {}).items():
        expect_whole("a count of the quota", count, 0, MOST)
        expect_whole(f"the quota of count {count}", most, 1, MOST)

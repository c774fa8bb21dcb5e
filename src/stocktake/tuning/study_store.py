"""Keeps the study of a search in the store, for machines whose disks go when they go."""

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stocktake.checkpoint_store import every, outages_are_warnings, store_key
from stocktake.files import sha256_file
from stocktake.settings import load_settings
from stocktake.storage import join_uri, open_store

log = logging.getLogger(__name__)

FOLDER = "studies"


class StudyKeeper:
    """Fetches a study from the store, and puts it there whenever it has changed.

    Its trials keep their checkpoints there themselves, see `checkpoint_store`.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], minutes: float | None) -> None:
        """Keep the study in the file of SQLite at `path`.

        Args:
            path: need not exist.
            identity: JSON; with the version of the code it names the place in the store.
            minutes: between two looks whether it has changed; None = nothing is fetched or put.
        """
        self.path, self.minutes = path, minutes
        self.stored = ""  # SHA-256
        if minutes is not None:
            self.store = open_store(join_uri(load_settings().store, store_key(FOLDER, identity)))

    def fetch(self) -> None:
        """Bring the study from the store where this machine has none.

        Raises:
            StoreError: it can't be read.
        """
        if self.minutes is not None and not self.path.exists() and self.store.exists(self.path.name):
            log.info("fetching %s", self.store.url(self.path.name))
            self.store.get_to(self.path.name, self.path)

    def keep(self) -> AbstractContextManager[None]:
        """Put the study into the store while the block runs, and at its end."""
        return nullcontext() if self.minutes is None else every(60 * self.minutes, self.put)

    def put(self) -> None:
        """Put the study as it is at one moment; a store that fails costs a warning."""
        if not self.path.exists():
            return
        with (
            outages_are_warnings("the newest trials are", sqlite3.Error),
            TemporaryDirectory(prefix=".to-store-", dir=self.path.parent) as folder,
        ):
            copy = Path(folder, self.path.name)
            # SQLite's own way to copy: whole, even while another thread writes
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            if (digest := sha256_file(copy)) != self.stored:
                self.store.put(self.path.name, copy)
                self.stored = digest

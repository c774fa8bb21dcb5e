"""Keeps the study of a search in the store, for machines whose disks go when they go."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stocktake.checkpoint_store import every, store_key
from stocktake.errors import StoreError
from stocktake.files import sha256_file
from stocktake.settings import load_settings
from stocktake.storage import Store, join_uri, open_store

log = logging.getLogger(__name__)

FOLDER = "studies"


@contextmanager
def keep_study_in_store(path: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Continue a study from the store where this machine has none, and put it there while the block runs.

    Its trials keep their checkpoints there themselves, see `checkpoint_store`. Does nothing where
    STOCKTAKE_CHECKPOINT_MINUTES is not set. A store that fails meanwhile costs a warning.

    Args:
        path: of the study, a file of SQLite.
        identity: JSON; with the version of the code it names the place in the store.

    Raises:
        StoreError: what the store has can't be fetched.
    """
    settings = load_settings()
    if settings.checkpoint_minutes is None:
        yield
        return
    store = open_store(join_uri(settings.store, store_key(FOLDER, identity)))
    if not path.exists() and store.exists(path.name):
        log.info("fetching %s", store.url(path.name))
        store.get_to(path.name, path)
    keeper = StudyKeeper(store, path)
    with every(60 * settings.checkpoint_minutes, keeper.put):
        yield


class StudyKeeper:
    """Puts a study into a store whenever it has changed."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store, self.path = store, path
        self.stored = ""  # SHA-256

    def put(self) -> None:
        """Put the study as it is at one moment; a store that fails costs a warning."""
        if not self.path.exists():
            return
        try:
            with TemporaryDirectory(prefix=".to-store-", dir=self.path.parent) as folder:
                copy = Path(folder, self.path.name)
                # SQLite's own way to copy: whole, even while another thread writes
                with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
                if (digest := sha256_file(copy)) != self.stored:
                    self.store.put(self.path.name, copy)
                    self.stored = digest
        except (StoreError, OSError, sqlite3.Error) as error:
            log.warning("the newest trials are not in the store yet: %s", error)

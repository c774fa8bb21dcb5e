"""Keeps the newest checkpoint of a training in the store, for machines whose disks go when they go."""

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stocktake.code_version import code_version
from stocktake.epoch_log import EPOCHS_FILE
from stocktake.errors import StoreError
from stocktake.monitoring.run_files import RECORDING_FILE, SUMMARY_FILE
from stocktake.run_folder import RunFolder, State
from stocktake.settings import load_settings
from stocktake.storage import Store, join_uri, open_store

log = logging.getLogger(__name__)

Versions = dict[str, tuple[int, int, int]]

FOLDER = "checkpoints"
# In this order, both ways: last.pt says that its epoch is done, result.json that the run is over. So what a
# kill leaves in the store, or in the folder that it is fetched into, is what a kill can leave in a folder.
KEPT = (
    "results.csv",
    EPOCHS_FILE,
    RECORDING_FILE,
    SUMMARY_FILE,
    "weights/best.pt",
    "weights/last.pt",
    "result.json",
)
# What grows in place, so that a link of it would grow too; the others are replaced whole.
APPENDED = {"results.csv"}


@contextmanager
def keep_in_store(run: RunFolder, identity: dict[str, Any], resume: bool = True) -> Iterator[None]:
    """Continue a run from its checkpoint in the store, and put newer ones there while the block runs.

    Does nothing where STOCKTAKE_CHECKPOINT_MINUTES is not set. A store that fails meanwhile costs a warning:
    the training goes on, and the next try comes that many minutes later.

    Args:
        run: a folder without a checkpoint gets the one in the store.
        identity: JSON, as for `open_run`; with the version of the code it names the place in the store.
        resume: False = begin anew, whatever the store has.

    Raises:
        StoreError: what the store has can't be fetched.
    """
    settings = load_settings()
    if settings.checkpoint_minutes is None:
        yield
        return
    keeper = CheckpointKeeper(open_store(join_uri(settings.store, checkpoint_key(identity))), run.path)
    if resume and run.state() is State.NEW:
        keeper.fetch()
    with every(60 * settings.checkpoint_minutes, keeper.put):
        yield


def checkpoint_key(identity: dict[str, Any]) -> str:
    """Where the checkpoint of a run lies in the store; other code trains anew."""
    return store_key(FOLDER, identity)


def store_key(folder: str, identity: Mapping[str, Any]) -> str:
    """The place below `folder` of what this identity, as JSON, and this version of the code have made."""
    text = json.dumps({"run": identity, "code": code_version()}, sort_keys=True)
    return f"{folder}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class CheckpointKeeper:
    """Brings the files of a run from the store, and puts those that have changed since."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.stored: Versions = {}

    def fetch(self) -> None:
        """Bring what the store has into the folder.

        Raises:
            StoreError: it can't be read.
        """
        for name in KEPT:
            if self.store.exists(name):
                log.info("fetching %s", self.store.url(name))
                self.store.get_to(name, self.folder / name)
        self.stored = self._versions()

    def put(self) -> None:
        """Put what is new; a store that fails costs a warning."""
        snapshot = self.folder / ".to-store"
        try:
            with outages_are_warnings("the newest checkpoint is"):
                for name, version in self._take_snapshot(snapshot).items():
                    if version != self.stored.get(name):
                        self.store.put(name, snapshot / name)
                        self.stored[name] = version
        finally:
            shutil.rmtree(snapshot, ignore_errors=True)

    def _take_snapshot(self, folder: Path) -> Versions:
        """The files as they are at one moment: best.pt must not be older than last.pt."""
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            before = self._versions()
            for name in before:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                take = shutil.copyfile if name in APPENDED else os.link
                take(self.folder / name, folder / name)
            if self._versions() == before:
                return before

    def _versions(self) -> Versions:
        """Inode, size and time of each file that is there."""
        found = {}
        for name in KEPT:
            with suppress(FileNotFoundError):
                status = (self.folder / name).stat()
                found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return found


@contextmanager
def outages_are_warnings(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Warn that `what` not in the store yet where the block fails, at the store or with one of `errors`."""
    expected: tuple[type[Exception], ...] = (StoreError, OSError, *errors)
    try:
        yield
    except expected as error:
        log.warning("%s not in the store yet: %s", what, error)


@contextmanager
def every(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """Run `action` in a thread every so many seconds while the block runs, and once more at its end."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, name="checkpoints", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        action()

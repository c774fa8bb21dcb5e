"""How many processes load photos for a training."""

import logging
import os
import shutil
from pathlib import Path

from stocktake.shelf.train_settings import TrainSettings

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
MOST = 8
# A process of ultralytics' loader for training prepares 4 batches; for each, the loader for validation has
# two, which prepare 2 batches of twice the size. None of them ends before the training does.
BATCHES_AHEAD = 4 + 2 * 2 * 2
AUTOMATIC_BATCH = 64  # what batch -1 is taken for


def loading_workers(settings: TrainSettings) -> int:
    """Processes of each rank: `settings.workers`, or one per core, as far as shared memory goes.

    Batches travel through /dev/shm, where a container has 64 MB unless it is given more. A process that finds
    no room there dies of a bus error in mid-training, so there are rather fewer of them, and a warning.
    """
    ranks = len(settings.devices)
    cores = len(os.sched_getaffinity(0)) // ranks
    wanted = min(MOST, cores) if settings.workers is None else settings.workers
    if not wanted or not SHARED_MEMORY.is_dir():
        return wanted
    batch = AUTOMATIC_BATCH if settings.batch < 0 else settings.batch
    needed = BATCHES_AHEAD * batch * 3 * settings.img**2  # of all ranks together, for one process in each
    free = shutil.disk_usage(SHARED_MEMORY).free
    fitting = min(wanted, free // needed)
    if fitting < wanted:
        log.warning(
            "%s has %d MB free, which is enough for %d of %d loading processes and slows the training down; "
            "start the container with --shm-size 8g",
            SHARED_MEMORY,
            free / 1e6,
            fitting,
            wanted,
        )
    return fitting

"""Opens model dirs. Knows nothing of KServe, so that engines can compile while that is being imported."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from stocktake.bins.counter import BinCounter
from stocktake.loaded_model import LoadedModel
from stocktake.model_card import ModelCard, Task
from stocktake.runtime import find_engines
from stocktake.shelf.detector import ShelfDetector

logger = logging.getLogger(__name__)

KINDS: dict[Task, type[LoadedModel]] = {kind.TASK: kind for kind in (ShelfDetector, BinCounter)}


def open_model(model_dir: Path, threads: int, *, lanes_later: bool = False) -> LoadedModel:
    """Check a model dir, load it by the task in its card and warm it up.

    Args:
        model_dir: of either task.
        threads: of one inference that is alone; as many that are not run side by side.
        lanes_later: so that it answers sooner, see `LoadedModel.load`.

    Raises:
        ModelError: it can't be served; says why.
        SettingsError: the environment asks for an engine or a precision that is not here.
    """
    kind = KINDS[ModelCard.read(model_dir).task]
    model = kind.load(model_dir, threads, lanes=threads, lanes_later=lanes_later)
    logger.info("opened %s: %s, dataset %s", model_dir, model.card.name, model.card.dataset)
    return model


@contextmanager
def opening(model_dirs: Mapping[str, Path], threads: int) -> Iterator[dict[str, Future[LoadedModel]]]:
    """Open model dirs, but not their lanes, in the background; the block ends when that has ended.

    One after the other: a server with three models froze now and then when OpenVINO (2026.4) was used by
    several threads for the first time.
    """
    find_engines()  # in this thread, which stays: OpenVINO ties itself to the first one
    with ThreadPoolExecutor(1) as pool:
        yield {
            name: pool.submit(open_model, path, threads, lanes_later=True)
            for name, path in model_dirs.items()
        }

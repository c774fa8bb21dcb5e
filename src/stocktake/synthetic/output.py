"""What drawings share on their way out: processes that draw, a folder of their own, contact sheets."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from stocktake.errors import DataError, SettingsError
from stocktake.settings import load_settings

Work = TypeVar("Work")
Result = TypeVar("Result")


def map_processes(
    draw: Callable[[Work], Result], work: Sequence[Work], workers: int | None, chunk: int = 4
) -> Iterator[Result]:
    """Yield `draw(w)` for each w in order, drawn by `workers` processes (one per core if None)."""
    workers = min(workers or load_settings().cpu_workers, max(len(work), 1))
    if workers == 1:
        yield from map(draw, work)
        return
    # A process that is forked while OpenCV has threads waits for ever for those that it did not inherit.
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(draw, work, chunksize=chunk)


def check_leftovers(folder: Path, names: Collection[str]) -> None:
    """Raise DataError when a folder holds files of other names."""
    left = sorted({path.name for path in folder.iterdir()} - set(names))
    if left:
        raise DataError(
            f"{folder} already holds {len(left)} other files, such as {left[0]}; "
            "remove them or choose another folder"
        )


def lay_sheet(cells: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (H, w, 3) uint8 of one height side by side, `columns` to a row, black where rows are shorter.

    Raises SettingsError for no pictures or no columns.
    """
    if not cells or columns < 1:
        raise SettingsError(f"a contact sheet needs photos and columns; got {len(cells)} and {columns}")
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])

"""The folder of a YOLOv5 training; see `stocktake.run_folder`."""

from functools import partial
from pathlib import Path
from typing import Any

from stocktake import run_folder
from stocktake.errors import ModelError


def read_progress(path: Path) -> tuple[int, int]:
    """Epochs in a checkpoint of ultralytics, and epochs wanted."""
    checkpoint = _load(path)
    wanted = int(checkpoint["train_args"]["epochs"])
    return (wanted if checkpoint["epoch"] < 0 else int(checkpoint["epoch"]) + 1), wanted


open_run = partial(run_folder.open_run, read_progress=read_progress)


def _load(path: Path) -> dict[str, Any]:
    from stocktake.shelf.ultralytics_setup import load_ultralytics

    load_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        return dict(torch_safe_load(str(path))[0])
    except Exception as error:
        raise ModelError(
            f"{path}: a checkpoint that cannot be read ({error}); delete its run's folder"
        ) from error

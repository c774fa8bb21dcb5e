"""The end of a search: a training with the settings that it has found, on all photos."""

import logging
from collections.abc import Mapping
from pathlib import Path

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.workflow import train_counter
from stocktake.errors import SettingsError
from stocktake.tuning.search_space import SearchSpace, Value

log = logging.getLogger(__name__)

NAME = "refit"


def train_best(
    values: Mapping[str, Value],
    space: SearchSpace,
    index_path: Path,
    out_dir: Path,
    device: str = "",
    trial: str = "",
) -> tuple[Path, dict[str, float]]:
    """Train with the best values of a search, export, choose thresholds; killed, it continues.

    Args:
        values: of the parameters that were searched.
        space: the rest of the settings; its `refit` wins over all.
        index_path: a prepared index.
        out_dir: gets model/, and refit/ with the checkpoints.
        device: as in `BinTrainSettings`; the first of a list where the best batch cannot be shared out.
        trial: folder below `out_dir`/trials of a trial that this would repeat in every respect: then its own
            checkpoint is exported.

    Returns:
        The model dir, and the figures on the val photos.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` does.
    """
    work_dir, model_dir = out_dir / ("trials" if trial else NAME), out_dir / "model"
    place = {"name": trial or NAME, "project": str(work_dir)}
    try:
        settings = space.settings(space.chosen(values), device=device, **place)
    except SettingsError as error:  # each trial had one of the devices
        settings = space.settings(space.chosen(values), device=device.split(",")[0], **place)
        log.warning("the best settings are trained on the first device alone: %s", error)
    with tracking.start_run(NAME, BinCounter.TASK):
        result, _ = train_counter(index_path, model_dir, settings, work_dir)
        tracking.log_metrics(result.metrics)
    return model_dir, result.metrics

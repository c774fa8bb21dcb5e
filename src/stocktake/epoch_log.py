"""Keeps the metrics of every epoch in a run's folder, for the run of MLflow that a resumed training opens."""

import json
from pathlib import Path

from stocktake.files import atomic_path
from stocktake.launch import EpochHook

EPOCHS_FILE = "epochs.json"

Epochs = dict[int, dict[str, float]]


def keep_epochs(folder: Path, on_epoch: EpochHook) -> EpochHook:
    """`on_epoch`, but each epoch is also written into `folder`; what was told of later ones is forgotten."""

    def hook(metrics: dict[str, float], epoch: int) -> None:
        known = {number: found for number, found in _read(folder).items() if number < epoch}
        with atomic_path(folder / EPOCHS_FILE) as part:
            part.write_text(json.dumps({**known, epoch: metrics}))
        on_epoch(metrics, epoch)

    return hook


def tell_again(folder: Path, done: int, on_epoch: EpochHook) -> None:
    """Tell the first `done` epochs of an earlier process, as far as they were kept, as it told them."""
    for epoch, metrics in sorted(_read(folder).items()):
        if epoch <= done:
            on_epoch(metrics, epoch)


def _read(folder: Path) -> Epochs:
    path = folder / EPOCHS_FILE
    if not path.is_file():
        return {}
    return {int(number): metrics for number, metrics in json.loads(path.read_text()).items()}

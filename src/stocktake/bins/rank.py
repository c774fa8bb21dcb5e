"""One process of a training: the only one, or a rank as which `launch_ranks` runs this module."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from stocktake.bins.loading import open_photos
from stocktake.bins.measuring import Passes
from stocktake.bins.network import BinNetwork
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.trainer import BinTrainer
from stocktake.bins.weights import Start, load_start
from stocktake.dataset import DatasetIndex
from stocktake.devices import advise_on_memory, prepare_torch
from stocktake.launch import EpochHook, be_rank
from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.run_files import and_then, leave_answers, rank_monitor


def train_rank(
    arguments: dict[str, Any], on_epoch: EpochHook | None = None, monitor: TrainingMonitor | None = None
) -> None:
    """Train as this rank of a run, or alone; leaves weights/{best,last}.pt in the run's folder.

    Args:
        arguments: index (path), classes, settings, run (folder), start (checkpoint or None), and rules: the
            settings of the monitor that the first rank makes for itself where none can be handed over.
        on_epoch: called on the first rank after each epoch with its metrics and its number, from 1.
        monitor: watches the training; its report goes to rules/ in the run's folder.
    """
    settings, folder = BinTrainSettings(**arguments["settings"]), Path(arguments["run"])
    local, ranks = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    neighbours, is_first = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), os.environ.get("RANK", "0") == "0"
    device = settings.devices[local] or ("cuda" if torch.cuda.is_available() else "cpu")
    device = f"cuda:{device}" if device.isdigit() else device
    prepare_torch(neighbours if device == "cpu" else 1)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # what NCCL talks from
    torch.backends.cudnn.benchmark = True  # one size of square, so the fastest kernels are worth a search
    if ranks > 1:
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    monitor = rank_monitor(arguments["rules"], is_first, monitor)
    batch = f"a batch of {settings.batch_size} photos of {settings.img} px"
    with advise_on_memory(batch, "batch_size or img"):
        trainer = make_trainer(arguments, settings, device, monitor)
        # a training that failed is the one whose report is wanted most
        with and_then(lambda: leave_answers(monitor, folder)):
            trainer.fit(folder, on_epoch, bool(monitor or arguments["rules"]))
    if ranks > 1:
        distributed.destroy_process_group()


def make_trainer(
    arguments: dict[str, Any], settings: BinTrainSettings, device: str, monitor: TrainingMonitor | None
) -> BinTrainer:
    """The trainer of this rank, before its first epoch; `arguments` as of `train_rank`."""
    torch.manual_seed(settings.seed)
    classes = tuple(arguments["classes"])
    network = BinNetwork(classes, settings.head)
    load_start(network, Start(arguments["start"] and Path(arguments["start"]), ""))
    index = DatasetIndex.read(Path(arguments["index"]))
    train, val = (
        open_photos(index, split, classes, settings.img, settings.squares) for split in ("train", "val")
    )
    return BinTrainer(network, train, val, settings, Passes(device, settings.amp), monitor)


if __name__ == "__main__":
    be_rank(train_rank)

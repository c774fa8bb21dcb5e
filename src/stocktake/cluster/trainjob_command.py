"""The flags of `stocktake … train` that write a TrainJob for kubectl instead of training here."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from stocktake.errors import SettingsError
from stocktake.verbs import Options

PREPARED = ".parquet"


def add_trainjob_flags(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser of a verb."""
    group = parser.add_argument_group("on a cluster")
    group.add_argument(
        "--trainjob",
        type=Path,
        metavar="FILE",
        help="put the training into the store, write a TrainJob there; train nothing",
    )
    group.add_argument("--nodes", type=int, default=1, help="machines that train together")
    group.add_argument("--gpus", type=int, default=1, help="of each machine")
    group.add_argument("--gpu-type", default="nvidia.com/gpu", help="resource name of the GPUs")
    group.add_argument("--memory", default="48Gi", help="of each machine")
    group.add_argument("--image", help="of the training; STOCKTAKE_TRAIN_IMAGE if not given")
    group.add_argument(
        "--cache-claim", default="", help="PersistentVolumeClaim for fetched photos that all machines share"
    )


def write_trainjob(options: Options, settings: Any, rules: Any) -> None:
    """Put the training into the store, and write and print what kubectl and people need for it.

    Raises:
        SettingsError: `--data` is no prepared index, or the training can't be done on such machines.
        DataError, StoreError: the index can't be read, or the store not be written.
    """
    from stocktake.cluster.images import train_image
    from stocktake.cluster.manifests import write_manifests
    from stocktake.cluster.trainjob import NodePool, job_name, manifests
    from stocktake.dataset import DatasetIndex
    from stocktake.devices import gpu_devices
    from stocktake.node_training import Order, place_order
    from stocktake.settings import load_settings
    from stocktake.storage import join_uri

    index_path = Path(options.data)
    if not options.data.endswith(PREPARED) or "made_from" not in DatasetIndex.read(index_path).metadata:
        raise SettingsError(
            f"--data {options.data}: a TrainJob takes a prepared index.parquet; `prepare` makes one"
        )
    pool = NodePool(
        options.nodes, options.gpus, options.gpu_type, memory=options.memory, cache_claim=options.cache_claim
    )
    order = Order(replace(settings, device=gpu_devices(options.gpus)), rules, {})
    order.check_nodes(pool.nodes)
    key = place_order(index_path, order)
    name = job_name(order.task, key)
    print(write_manifests(options.trainjob, *manifests(name, key, options.image or train_image(), pool)))
    print(f"the model will be in {join_uri(load_settings().store, key, 'model')}")

"""A training in this pod, or on other machines through Kubeflow Trainer: what comes out is the same."""

from dataclasses import replace
from pathlib import Path

from stocktake.cluster.api import Cluster, ClusterError
from stocktake.cluster.connection import connect
from stocktake.cluster.following import POLL_S
from stocktake.cluster.images import cache_claim, train_image
from stocktake.cluster.trainjob import NodePool, job_name, manifests
from stocktake.cluster.trainjob_run import run_job
from stocktake.node_training import Order, Trained, find_result, place_order, train_here


def train_on(
    pool: NodePool, index_path: Path, model_dir: Path, order: Order, trainjob: bool = False
) -> Trained:
    """Train in this pod where the pool is one node and no `trainjob` is asked for, else as `train_on_nodes`.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` does.
        ClusterError: as `run_job` does.
    """
    if pool.nodes == 1 and not trainjob:
        return train_here(index_path, model_dir, order)
    shared = replace(pool, cache_claim=pool.cache_claim or cache_claim())
    return train_on_nodes(shared, index_path, model_dir, order)


def train_on_nodes(
    pool: NodePool,
    index_path: Path,
    model_dir: Path,
    order: Order,
    cluster: Cluster | None = None,
    poll_s: float = POLL_S,
) -> Trained:
    """Have a TrainJob train, and fetch the model dir. What has been trained before is only fetched.

    Killed and called again, it follows the same TrainJob.

    Raises:
        SettingsError: the batch can't be shared out over the nodes, or the image may change under its name.
        DataError, StoreError, ModelError: the index, the store or the model dir can't be used.
        ClusterError: as `run_job` does.
    """
    order.check_nodes(pool.nodes)
    key = place_order(index_path, order)
    done = find_result(key, model_dir)
    if done is None:
        name = job_name(order.task, key)
        run_job(cluster or connect(), manifests(name, key, train_image(), pool), poll_s)
        done = find_result(key, model_dir)
    if done is None:
        raise ClusterError(
            f"TrainJob {name} is complete, but {key} in the store has no result; its pods must have the same"
            " STOCKTAKE_STORE as this one (ConfigMap endpoints)"
        )
    return done

"""A training in this pod, or on other machines through Kubeflow Trainer: what comes out is the same."""

from dataclasses import replace
from pathlib import Path

from stocktake import tracking
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.cluster.api import Cluster, ClusterError
from stocktake.cluster.connection import connect
from stocktake.cluster.following import POLL_S
from stocktake.cluster.images import cache_claim, train_image
from stocktake.cluster.trainjob import NodePool, job_name, manifests
from stocktake.cluster.trainjob_run import run_job
from stocktake.node_training import Order, Trained, find_result, place_order


def train_counter_on(pool: NodePool, index_path: Path, model_dir: Path, order: Order) -> Trained:
    """Train the bin counter: here where the pool is one node, and otherwise as `train_on_nodes` does.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` does.
        ClusterError: as `run_job` does.
    """
    if pool.nodes > 1:
        shared = replace(pool, cache_claim=pool.cache_claim or cache_claim())
        return train_on_nodes(shared, index_path, model_dir, order)
    from stocktake.bins.workflow import train_counter
    from stocktake.monitoring.monitor import TrainingMonitor

    assert isinstance(order.settings, BinTrainSettings)
    watch = TrainingMonitor(order.rules) if order.rules else None
    with tracking.start_run("train", order.task, order.tags) as run_id:
        result, digest = train_counter(index_path, model_dir, order.settings, monitor=watch)
    return Trained(digest, run_id, result.metrics, result.rules, result.rules_page())


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

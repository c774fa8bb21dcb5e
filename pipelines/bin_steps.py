"""The steps that the pipelines of bins share, each with its place on a cluster."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components.evaluation import evaluate_bin_counter
from components.ingestion import ingest_bins, merge_bins, plan_bins
from components.label_prep import prepare_bins
from components.promotion import promote_model
from components.training import train_bin_counter
from pipelines.cluster import give_gpus, may_start_pods, place
from pipelines.parameters import check_shared
from stocktake.bins import CLASSES
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.devices import gpu_devices
from stocktake.setting_checks import expect

DEFAULT_CLASSES = list(CLASSES)  # Kubeflow takes no tuples


def plan(source: Any, pods: Any, nodes: Any, engine: Any, gpus: Any, node_selector: Any) -> PipelineTask:
    """Say what each step gets."""
    planned = plan_bins(
        source=source, pods=pods, nodes=nodes, engine=engine, gpus=gpus, node_selector=node_selector
    )
    planned.set_caching_options(False)  # the next time the source may not answer
    return place(planned, "1", "2Gi", hours=1)


def ingest_and_prepare(
    planned: PipelineTask, source: Any, quota: Any, limit: Any, classes: Any, copy: Any, split_seed: Any,
    code_version: Any,
) -> PipelineTask:  # fmt: skip
    """Photos in, a prepared index out; each part of the photos is read in a pod of its own."""
    # kfp.local loops over outputs of this name only
    with dsl.ParallelFor(planned.outputs["Output"], name="parts") as shard:
        ingested = ingest_bins(
            source=source, shard=shard, quota=quota, limit=limit, classes=classes, copy=copy
        )
        place(ingested, "4", "8Gi", hours=24)
        ingested.set_caching_options(False)  # what a source holds may change under its name
    merged = merge_bins(parts=dsl.Collected(ingested.outputs["part"]))
    place(merged, "2", "16Gi", hours=2)
    merged.set_caching_options(False)
    prepared = prepare_bins(
        ingested=merged.outputs["index"], digest=merged.outputs["Output"], code_version=code_version,
        classes=classes, split_seed=split_seed,
    )  # fmt: skip
    return place(prepared, "2", "8Gi", hours=1)


def train(
    planned: PipelineTask, prepared: PipelineTask, best: Any, gpu_type: Any, gpus: Any, nodes: Any,
    node_selector: Any, tolerations: Any, code_version: Any, **settings: Any,
) -> PipelineTask:  # fmt: skip
    """Train on what `ingest_and_prepare` made; `best` wins over `settings`."""
    trained = train_bin_counter(
        index=prepared.outputs["index"], digest=prepared.outputs["Output"], code_version=code_version,
        best=best, gpus=gpus, nodes=nodes, gpu_type=gpu_type, node_selector=node_selector,
        tolerations=tolerations, **settings,
    )  # fmt: skip
    own = planned.outputs
    may_start_pods(place(trained, own["training_cpu"], own["training_memory"], hours=72))
    return give_gpus(
        trained, gpu_type, own["training_gpus"], own["training_nodes"], tolerations, shared_memory="8Gi"
    )


def evaluate_and_promote(
    prepared: PipelineTask, trained: PipelineTask, model_name: Any, split: Any
) -> tuple[PipelineTask, PipelineTask]:
    """Score a model, and make it champion if it is better."""
    evaluated = evaluate_bin_counter(
        index=prepared.outputs["index"], model=trained.outputs["model"], run_id=trained.outputs["run_id"],
        model_name=model_name, split=split,
    )  # fmt: skip
    place(evaluated, "8", "16Gi", hours=6)
    evaluated.set_caching_options(False)  # like the next step: the champion may be another one by now
    promoted = promote_model(
        index=prepared.outputs["index"], model=trained.outputs["model"],
        evaluation=evaluated.outputs["evaluation"], run_id=trained.outputs["run_id"], model_name=model_name,
        split=split,
    )  # fmt: skip
    place(promoted, "8", "16Gi", hours=6)
    promoted.set_caching_options(False)
    return evaluated, promoted


def check(arguments: Mapping[str, Any]) -> None:
    """Refuse values that a step would refuse hours later.

    Raises:
        SettingsError, DataError, ModelError: a value is impossible.
    """
    from stocktake.bins.abid_source import open_source
    from stocktake.bins.split import check_classes
    from stocktake.bins.weights import check_weights
    from stocktake.monitoring.monitor_settings import MonitorSettings
    from stocktake.node_training import Order
    from stocktake.settings import load_settings

    check_shared(arguments, "quota", "limit", "split_seed")
    Order(train_settings(arguments), None, {}).check_nodes(arguments["nodes"])
    check_classes(arguments["classes"])
    MonitorSettings.parse(arguments["rules"], arguments["stop_on"])
    check_weights(arguments["weights"])
    open_source(arguments["source"], load_settings())


def check_here(arguments: Mapping[str, Any]) -> None:
    """Refuse what this machine cannot do, where the steps are to run on it.

    Raises:
        SettingsError: it has fewer GPUs, or not the precision, or it would have to be several machines.
        ModelError: ImageNet's weights are asked for and cannot be downloaded.
    """
    expect(
        arguments["nodes"] == 1, "nodes", arguments["nodes"], "1 on this machine; several are for clusters"
    )
    from stocktake.bins.training_checks import check_machine
    from stocktake.bins.weights import resolve_weights
    from stocktake.settings import load_settings

    check_machine(train_settings(arguments))
    resolve_weights(arguments["weights"], load_settings().cache.absolute())


def train_settings(arguments: Mapping[str, Any]) -> BinTrainSettings:
    """The settings of the training among a pipeline's arguments."""
    names = {field.name for field in fields(BinTrainSettings)} & arguments.keys()
    return BinTrainSettings(
        **{name: arguments[name] for name in names}, device=gpu_devices(arguments["gpus"])
    )

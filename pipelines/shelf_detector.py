"""Shelf photos in, a champion detector out."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from kfp import dsl

from components.evaluation import evaluate_shelf_detector
from components.ingestion import ingest_shelves, merge_shelves, plan_shelves
from components.label_prep import prepare_shelf_labels
from components.promotion import promote_model
from components.training import train_shelf_detector
from pipelines.cluster import give_gpus, may_start_pods, place
from pipelines.parameters import check_shared
from pipelines.serving_step import deploy_if
from stocktake.devices import gpu_devices
from stocktake.setting_checks import expect, expect_choice
from stocktake.shelf.train_settings import TrainSettings

DESCRIPTION = (
    "Ingest shelf photos, prepare labels, train YOLOv5, evaluate it, and promote it if it is better."
)


class Outputs(NamedTuple):
    """What a run leaves: the prepared index, the model dir, its evaluation, whether it became champion."""

    index: dsl.Dataset
    model: dsl.Model
    report: dsl.HTML
    card: dsl.Markdown
    metrics: dsl.Metrics
    evaluation: dsl.Artifact
    promoted: bool
    reason: str
    model_uri: str


@dsl.pipeline(
    name="shelf-detector",
    description=DESCRIPTION,
)
def shelf_detector(
    source: str,
    exclude: str = "unreadable",
    copy: bool = False,
    limit: int = 0,
    pods: int = 1,
    weights: str = "yolov5s.pt",
    model: str = "",
    epochs: int = 100,
    img: int = 640,
    batch: int = 16,
    freeze: int = 0,
    hyp: str = "low",
    cache: str = "",
    patience: int = 100,
    seed: int = 0,
    gpu_type: str = "nvidia.com/gpu",
    gpus: int = 1,
    trainjob: bool = False,
    node_selector: dict = {},  # noqa: B006 - Kubeflow takes no other default, and nobody changes it
    tolerations: list = [],  # noqa: B006
    split: str = "test",
    feedback: str = "",
    model_name: str = "shelf-detector",
    deploy: bool = False,
    deploy_options: dict = {},  # noqa: B006
    code_version: str = "",
) -> Outputs:
    """Ingest shelf photos, prepare labels, train YOLOv5, evaluate it, and promote it if it is better.

    Args:
        source: Photos in SKU-110K's layout: folder, tar file, http(s) URL of one, or s3:// prefix.
        exclude: Photos to leave out: none, unreadable, or strict (also the published list of 54).
        copy: Copy the photos of a folder or a prefix into the store.
        limit: At most this many photos per split; 0 for all.
        pods: Pods of a cluster to read the source with.
        weights: COCO weights such as yolov5s.pt, a checkpoint, `starter`, or `scratch`.
        model: Size n, s, m, l or x, where training starts from scratch.
        epochs: Passes over the training photos.
        img: Side in px of the square that photos are fitted into; a multiple of 32.
        batch: Photos in a step over all GPUs; -1 for what fits.
        freeze: Layers that are not trained; 10 is the backbone.
        hyp: Augmentation and learning rates: low, med, high, quick, or a file.
        cache: Keep decoded photos in `ram` or on `disk`.
        patience: Stop after this many epochs without improvement.
        seed: Same seed, same weights.
        gpu_type: Resource name of the GPUs on the cluster.
        gpus: GPUs to train on; a machine without one trains on CPU.
        trainjob: Train as a TrainJob of Kubeflow Trainer, and not in the step's own pod.
        node_selector: Labels of the nodes with GPUs on the cluster.
        tolerations: Of taints of these nodes, such as those of spot instances.
        split: Photos that models are scored on: test, or val, on which none is promoted.
        feedback: What people said about voids, as the gateway exports it: file or s3:// object; or empty.
        model_name: Registered model, and hence the InferenceService that serves it.
        deploy: Serve the champion at the end, on a cluster that has the InferenceService.
        deploy_options: How that is tried, where not as usual, such as {"canary": 25, "max_p99_s": 1}.
        code_version: Version of the code, so that no step is answered from the cache of another one.
    """
    planned = plan_shelves(
        source=source, pods=pods, gpus=gpus, trainjob=trainjob, node_selector=node_selector
    )
    place(planned, "1", "2Gi", hours=1)
    planned.set_caching_options(False)  # the next time the source may not answer
    # kfp.local loops over outputs of this name only
    with dsl.ParallelFor(planned.outputs["Output"], name="parts") as shard:
        ingested = ingest_shelves(source=source, shard=shard, exclude=exclude, copy=copy, limit=limit)
        place(ingested, "4", "8Gi", hours=12)
        # what a source holds may change under its name; nothing is read twice
        ingested.set_caching_options(False)
    merged = place(merge_shelves(parts=dsl.Collected(ingested.outputs["part"])), "2", "8Gi", hours=1)
    merged.set_caching_options(False)
    prepared = prepare_shelf_labels(
        ingested=merged.outputs["index"], digest=merged.outputs["Output"], code_version=code_version
    )
    place(prepared, "2", "8Gi", hours=1)
    trained = train_shelf_detector(
        index=prepared.outputs["index"], digest=prepared.outputs["Output"], code_version=code_version,
        weights=weights, size=model, epochs=epochs, img=img, batch=batch, freeze=freeze, hyp=hyp, cache=cache,
        patience=patience, seed=seed, gpus=gpus, trainjob=trainjob, gpu_type=gpu_type,
        node_selector=node_selector, tolerations=tolerations,
    )  # fmt: skip
    own = planned.outputs
    may_start_pods(place(trained, own["training_cpu"], own["training_memory"], hours=72))
    give_gpus(
        trained, gpu_type, own["training_gpus"], own["training_nodes"], tolerations, shared_memory="16Gi"
    )
    evaluated = evaluate_shelf_detector(
        index=prepared.outputs["index"], model=trained.outputs["model"],
        run_id=trained.outputs["run_id"], model_name=model_name, split=split, weights=weights, size=model,
        img=img, feedback=feedback,
    )  # fmt: skip
    place(evaluated, "8", "16Gi", hours=6)
    evaluated.set_caching_options(False)  # like the next step: the champion may be another one by now
    promoted = promote_model(
        index=prepared.outputs["index"], model=evaluated.outputs["scored"],
        evaluation=evaluated.outputs["evaluation"], run_id=trained.outputs["run_id"],
        model_name=model_name, split=split,
    )  # fmt: skip
    place(promoted, "8", "16Gi", hours=6)
    promoted.set_caching_options(False)
    deploy_if(deploy, deploy_options, prepared, promoted, model_name)
    return Outputs(
        prepared.outputs["index"], evaluated.outputs["scored"], evaluated.outputs["report"],
        evaluated.outputs["card"], evaluated.outputs["metrics"], evaluated.outputs["evaluation"],
        promoted.outputs["promoted"], promoted.outputs["reason"], promoted.outputs["model_uri"],
    )  # fmt: skip


def check(arguments: Mapping[str, Any]) -> None:
    """Refuse values that a step would refuse hours later.

    Raises:
        SettingsError, DataError, ModelError: a value is impossible.
    """
    from stocktake.feedback import read_feedback
    from stocktake.shelf.hyp import load_hyp
    from stocktake.shelf.sku110k_exclusions import EXCLUSIONS
    from stocktake.shelf.sku110k_source import check_source
    from stocktake.shelf.weights import check_weights

    check_shared(arguments, "limit")
    expect_choice("exclude", arguments["exclude"], EXCLUSIONS)
    load_hyp(arguments["hyp"])
    _train_settings(arguments)
    check_weights(arguments["weights"], arguments["model"])
    check_source(arguments["source"])
    if (feedback := arguments["feedback"]) and "://" not in feedback:
        read_feedback(feedback)


def check_here(arguments: Mapping[str, Any]) -> None:
    """Refuse what this machine cannot do, where the steps are to run on it.

    Raises:
        SettingsError: it has fewer GPUs, or a TrainJob would have to train.
    """
    expect(not arguments["trainjob"], "trainjob", True, "false on this machine; TrainJobs are for clusters")
    from stocktake.devices import check_devices

    check_devices(gpu_devices(arguments["gpus"]))


def _train_settings(arguments: Mapping[str, Any]) -> TrainSettings:
    names = {field.name for field in fields(TrainSettings)} & arguments.keys()
    given = {name: arguments[name] for name in names}
    return TrainSettings(**given, device=gpu_devices(arguments["gpus"]))

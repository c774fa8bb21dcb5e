"""Photos of bins in, a champion counter out, trained with the best settings that a search has found."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.search import search_bins
from pipelines import bin_steps
from pipelines.bin_steps import DEFAULT_CLASSES, evaluate_and_promote, ingest_and_prepare, plan, train
from pipelines.cluster import give_gpus, may_start_pods, place
from pipelines.serving_step import deploy_if
from stocktake.setting_checks import expect, expect_choice, expect_whole

DESCRIPTION = "Ingest bins, split them, search settings, train with the best, evaluate, promote if better."


class Outputs(NamedTuple):
    """What a run leaves: what `bin_counter` does, and the search's report and table of trials."""

    index: dsl.Dataset
    search: dsl.HTML
    trials: dsl.Markdown
    best: dict
    model: dsl.Model
    rules: dsl.HTML
    rule_summary: str
    report: dsl.HTML
    card: dsl.Markdown
    metrics: dsl.Metrics
    evaluation: dsl.Artifact
    promoted: bool
    reason: str
    model_uri: str


@dsl.pipeline(
    name="bin-search",
    description=DESCRIPTION,
)
def bin_search(
    source: str,
    quota: int = 0,
    limit: int = 0,
    classes: list = DEFAULT_CLASSES,
    copy: bool = False,
    pods: int = 1,
    split_seed: int = 0,
    engine: str = "optuna",
    space: str = "bins",
    trials: int = 0,
    workers: int = 1,
    weights: str = "imagenet",
    freeze: bool = False,
    head: str = "softmax",
    img: int = 224,
    epochs: int = 20,
    batch_size: int = 32,
    test_batch_size: int = 100,
    optimizer: str = "adamw",
    lr: float = 0.0003,
    weight_decay: float = 0.05,
    warmup: float = 1.0,
    ema: float = 0.998,
    augment: float = 1.0,
    amp: str = "",
    patience: int = 10,
    seed: int = 0,
    rules: str = "ours",
    stop_on: str = "",
    gpu_type: str = "nvidia.com/gpu",
    gpus: int = 1,
    nodes: int = 1,
    node_selector: dict = {},  # noqa: B006 - Kubeflow takes no other default, and nobody changes it
    tolerations: list = [],  # noqa: B006
    split: str = "test",
    model_name: str = "bin-counter",
    deploy: bool = False,
    deploy_options: dict = {},  # noqa: B006
    code_version: str = "",
) -> Outputs:
    """Ingest bins, split them, search hyperparameters, train with the best, evaluate and promote.

    Settings that the space does not search are the same in all trials and in the final training.

    Args:
        source: Bins in ABID's layout: folder, s3:// prefix, or https:// address of a public bucket.
        quota: At most this many bins of each class; 0 for all bins.
        limit: At most this many bins; 0 for all.
        classes: Counts to tell apart.
        copy: Copy the photos of a folder or a prefix into the store, as tar shards.
        pods: Pods of a cluster to read the source with.
        split_seed: Another seed, another split.
        engine: optuna searches in one pod, katib with a Job for each trial.
        space: Search space: `bins`, `bins-demo`, or a YAML file.
        trials: In all; 0 for as many as the space says.
        workers: Trials at a time.
        weights: ImageNet's (`imagenet`), a checkpoint or torchvision's ResNet50 in a file, or `none`.
        freeze: Train the last layer alone.
        head: `softmax`, or `ordinal`, which knows that 4 is nearer to 5 than 1 is.
        img: Side in px of the square that photos are fitted into, with nothing cut off.
        epochs: Passes over the training photos.
        batch_size: Photos in a step over all GPUs.
        test_batch_size: Photos at once where nothing is learnt, on each GPU.
        optimizer: `adamw` or `sgd`.
        lr: Highest learning rate; sgd wants about 0.02.
        weight_decay: Of weights, not of biases; sgd wants about 0.0005.
        warmup: Epochs over which the learning rate rises, before it falls along a cosine.
        ema: Decay of the average of weights that is kept; 0 keeps those of the last step.
        augment: Strength of changes of light, colour and sharpness; 0 takes photos as they are.
        amp: Mixed precision: `bf16`, or `fp16` on a GPU.
        patience: Stop after this many epochs without improvement.
        seed: Same seed, same weights.
        rules: Parameters of the training rules: `ours`, or `seed` for SageMaker Debugger's.
        stop_on: Rules that end the training when they find issues, with commas between them.
        gpu_type: Resource name of the GPUs on the cluster.
        gpus: GPUs to train on, of each machine; a machine without one trains on CPU.
        nodes: Machines of a cluster to train on; more than one are those of a TrainJob.
        node_selector: Labels of the nodes with GPUs on the cluster.
        tolerations: Of taints of these nodes, such as those of spot instances.
        split: Photos that models are scored on: test, or val, on which none is promoted.
        model_name: Registered model, and hence the InferenceService that serves it.
        deploy: Serve the champion at the end, on a cluster that has the InferenceService.
        deploy_options: How that is tried, where not as usual, such as {"canary": 25, "max_p99_s": 1}.
        code_version: Version of the code, so that no step is answered from the cache of another one.
    """
    planned = plan(source, pods, nodes, engine, gpus, node_selector)
    prepared = ingest_and_prepare(planned, source, quota, limit, classes, copy, split_seed, code_version)
    searched = search_bins(
        index=prepared.outputs["index"], digest=prepared.outputs["Output"], code_version=code_version,
        engine=engine, space=space, trials=trials, workers=workers, gpus=gpus, gpu_type=gpu_type,
        weights=weights, freeze=freeze, head=head, img=img, epochs=epochs, batch_size=batch_size,
        test_batch_size=test_batch_size, optimizer=optimizer, lr=lr, weight_decay=weight_decay, warmup=warmup,
        ema=ema, augment=augment, amp=amp, patience=patience, seed=seed,
    )  # fmt: skip
    own = planned.outputs
    may_start_pods(place(searched, own["search_cpu"], own["search_memory"], hours=168))
    give_gpus(searched, gpu_type, own["search_gpus"], own["search_nodes"], tolerations, shared_memory="16Gi")
    trained = train(
        planned, prepared, searched.outputs["best"], gpu_type, gpus, nodes, node_selector, tolerations,
        code_version, rules=rules, stop_on=stop_on,
        weights=weights, freeze=freeze, head=head, img=img, epochs=epochs, batch_size=batch_size,
        test_batch_size=test_batch_size, optimizer=optimizer, lr=lr, weight_decay=weight_decay, warmup=warmup,
        ema=ema, augment=augment, amp=amp, patience=patience, seed=seed,
    )  # fmt: skip
    evaluated, promoted = evaluate_and_promote(prepared, trained, model_name, split)
    deploy_if(deploy, deploy_options, prepared, promoted, model_name)
    return Outputs(
        prepared.outputs["index"], searched.outputs["report"], searched.outputs["card"],
        searched.outputs["best"], trained.outputs["model"], trained.outputs["report"],
        trained.outputs["rules"], evaluated.outputs["report"], evaluated.outputs["card"],
        evaluated.outputs["metrics"], evaluated.outputs["evaluation"], promoted.outputs["promoted"],
        promoted.outputs["reason"], promoted.outputs["model_uri"],
    )  # fmt: skip


def check(arguments: Mapping[str, Any]) -> None:
    """Refuse values that a step would refuse hours later.

    Raises:
        SettingsError, DataError, ModelError: a value is impossible.
    """
    from stocktake.tuning.engines import ENGINES
    from stocktake.tuning.search_space import load_within

    bin_steps.check(arguments)
    expect_choice("engine", arguments["engine"], ENGINES)
    expect_whole("trials", arguments["trials"], 0, 100_000)
    expect_whole("workers", arguments["workers"], 1, 1024)
    load_within(arguments["space"], bin_steps.train_settings(arguments))


def check_here(arguments: Mapping[str, Any]) -> None:
    """Refuse what this machine cannot do, where the steps are to run on it.

    Raises:
        SettingsError, ModelError: as `bin_steps.check_here`; also SettingsError where the search is for a
            cluster.
    """
    expect(arguments["engine"] == "optuna", "engine", arguments["engine"], "'optuna' on this machine")
    bin_steps.check_here(arguments)

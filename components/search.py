"""The step that searches the settings to train with."""

from typing import NamedTuple

from kfp import dsl

from components.image import train_component


@train_component
def search_bins(
    index: dsl.Input[dsl.Dataset],
    digest: str,
    code_version: str,
    engine: str,
    space: str,
    trials: int,
    workers: int,
    weights: str,
    freeze: bool,
    head: str,
    img: int,
    epochs: int,
    batch_size: int,
    test_batch_size: int,
    optimizer: str,
    lr: float,
    weight_decay: float,
    warmup: float,
    ema: float,
    augment: float,
    amp: str,
    patience: int,
    seed: int,
    gpus: int,
    gpu_type: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> NamedTuple("Searched", [("best", dict), ("run_id", str)]):  # type: ignore[valid-type]
    """Search hyperparameters; go on with a search that was stopped.

    Args:
        index: What the preparation made.
        digest: Its digest.
        code_version: Version of the library; part of the cache's key.
        engine: optuna, whose trials train on this machine, or katib, whose trials are Jobs of the cluster.
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
        gpus: GPUs of this machine, or of a Job; 0 for CPU, several train side by side.
        gpu_type: Resource name of the GPUs of a Job.
        metrics: The best value, and how many trials ended how.
        report: Table of trials, history, importance and parallel coordinates.
        card: The best trial and the table of all.

    Returns:
        The settings to train with, and the id of the MLflow run that is above those of the trials.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.bins.train_settings import BinTrainSettings
    from stocktake.tuning.engines import search_with
    from stocktake.tuning.search_report import trials_card
    from stocktake.tuning.search_space import load_within

    settings = BinTrainSettings.on_gpus(
        gpus, weights=weights, freeze=freeze, head=head, img=img, epochs=epochs, batch_size=batch_size, lr=lr,
        test_batch_size=test_batch_size, optimizer=optimizer, weight_decay=weight_decay, warmup=warmup,
        ema=ema, augment=augment, amp=amp, patience=patience, seed=seed,
    )  # fmt: skip
    within = load_within(space, settings)
    found = search_with(engine, Path(index.path), within, trials, workers, gpus, gpu_type)
    report.metadata.update(made_from=digest, code_version=code_version)
    copyfile(found.report, report.path)
    Path(card.path).write_text(trials_card(found, within), encoding="utf-8")
    metrics.metadata.update(found.figures())
    return (within.chosen(found.best.parameters), found.run_id)

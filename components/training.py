"""The step that needs a GPU: a model dir out of prepared labels."""

from typing import NamedTuple

from kfp import dsl

from components.image import train_component


@train_component
def train_shelf_detector(
    index: dsl.Input[dsl.Dataset],
    digest: str,
    code_version: str,
    weights: str,
    size: str,
    epochs: int,
    img: int,
    batch: int,
    freeze: int,
    hyp: str,
    cache: str,
    patience: int,
    seed: int,
    gpus: int,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Trained", [("digest", str), ("run_id", str)]):  # type: ignore[valid-type]
    """Train YOLOv5 on prepared photos and export it to ONNX; continue a training that was stopped.

    Args:
        index: What label preparation made.
        digest: Its digest.
        code_version: Version of the library; part of the cache's key.
        weights: COCO weights such as yolov5s.pt, a checkpoint, `starter`, or `scratch`.
        size: Size n, s, m, l or x, where training starts from scratch.
        epochs: Passes over the training photos.
        img: Side in px of the square that photos are fitted into.
        batch: Photos in a step over all GPUs; -1 for what fits.
        freeze: Layers that are not trained; 10 is the backbone.
        hyp: Augmentation and learning rates: low, med, high, quick, or a file.
        cache: Keep decoded photos in `ram` or on `disk`.
        patience: Stop after this many epochs without improvement.
        seed: Same seed, same weights.
        gpus: GPUs of this machine; 0 for CPU, several train side by side.
        model: Model dir: weights, model.onnx, model_card.json, SHA256SUMS.
        metrics: Figures of the validation photos.

    Returns:
        The digest of the model dir and the id of the MLflow run that holds every epoch.
    """
    from dataclasses import asdict
    from pathlib import Path

    from stocktake.devices import gpu_devices
    from stocktake.shelf.thresholds import set_thresholds
    from stocktake.shelf.train_settings import TrainSettings
    from stocktake.shelf.training import train
    from stocktake.tracking import log_params, start_run

    settings = TrainSettings(
        weights=weights, model=size, epochs=epochs, img=img, batch=batch, freeze=freeze, hyp=hyp,
        cache=cache, patience=patience, seed=seed, device=gpu_devices(gpus),
    )  # fmt: skip
    with start_run("train", tags={"code_version": code_version, "dataset": digest}) as run_id:
        log_params(asdict(settings), "train")
        result = train(Path(index.path), Path(model.path), settings)
    trained = set_thresholds(result.model_dir, Path(index.path))
    metrics.metadata.update(result.metrics)
    model.metadata.update(digest=trained, made_from=digest, code_version=code_version)
    return (trained, run_id)

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
    trainjob: bool,
    gpu_type: str,
    node_selector: dict,
    tolerations: list,
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
        gpus: GPUs of the machine; 0 for CPU, several train side by side.
        trainjob: Train as a TrainJob of Kubeflow Trainer, and not in this pod.
        gpu_type: Resource name of the GPUs, for a TrainJob.
        node_selector: Labels of its node.
        tolerations: Of taints of its node.
        model: Model dir: weights, model.onnx, model_card.json, SHA256SUMS.
        metrics: Figures of the validation photos.

    Returns:
        The digest of the model dir and the id of the MLflow run that holds every epoch.
    """
    from pathlib import Path

    from stocktake.cluster.node_pool_training import NodePool, train_on
    from stocktake.devices import gpu_devices
    from stocktake.node_training import Order
    from stocktake.shelf.train_settings import TrainSettings

    settings = TrainSettings(
        weights=weights, model=size, epochs=epochs, img=img, batch=batch, freeze=freeze, hyp=hyp,
        cache=cache, patience=patience, seed=seed, device=gpu_devices(gpus),
    )  # fmt: skip
    order = Order(settings, None, {"code_version": code_version, "dataset": digest})
    pool = NodePool(1, gpus, gpu_type, node_selector=node_selector, tolerations=tolerations)
    done = train_on(pool, Path(index.path), Path(model.path), order, trainjob)
    metrics.metadata.update(done.metrics)
    model.metadata.update(digest=done.digest, made_from=digest, code_version=code_version)
    return (done.digest, done.run_id)


@train_component
def train_bin_counter(
    index: dsl.Input[dsl.Dataset],
    digest: str,
    code_version: str,
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
    nodes: int,
    gpu_type: str,
    node_selector: dict,
    tolerations: list,
    best: dict,
    rules: str,
    stop_on: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> NamedTuple("Counter", [("digest", str), ("run_id", str), ("rules", str)]):  # type: ignore[valid-type]
    """Train a ResNet50 that counts, watched by the training rules, and export it to ONNX.

    Args:
        index: What the preparation made.
        digest: Its digest.
        code_version: Version of the library; part of the cache's key.
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
        gpus: GPUs of each machine; 0 for CPU, several train side by side.
        nodes: Machines: 1 trains in this pod, more train as a TrainJob of Kubeflow Trainer.
        gpu_type: Resource name of the GPUs, for a TrainJob.
        node_selector: Labels of its nodes.
        tolerations: Of taints of its nodes.
        best: Settings that a search has found, which win over the others.
        rules: Parameters of the training rules: `ours`, or `seed` for SageMaker Debugger's.
        stop_on: Rules that end the training when they find issues, with commas between them.
        model: Model dir: weights, model.onnx, model_card.json, SHA256SUMS.
        metrics: Figures of the validation photos.
        report: The training rules' report, with the step-time breakdown.

    Returns:
        The digest of the model dir, the id of the MLflow run that holds every epoch, a line for each rule.
    """
    from pathlib import Path

    from stocktake.bins.train_settings import BinTrainSettings
    from stocktake.cluster.node_pool_training import NodePool, train_on
    from stocktake.monitoring.monitor_settings import MonitorSettings
    from stocktake.node_training import Order

    settings = BinTrainSettings.on_gpus(
        gpus, best, weights=weights, freeze=freeze, head=head, img=img, epochs=epochs, batch_size=batch_size,
        test_batch_size=test_batch_size, optimizer=optimizer, lr=lr, weight_decay=weight_decay, warmup=warmup,
        ema=ema, augment=augment, amp=amp, patience=patience, seed=seed,
    )  # fmt: skip
    tags = {"code_version": code_version, "dataset": digest}
    order = Order(settings, MonitorSettings.parse(rules, stop_on), tags)
    pool = NodePool(nodes, gpus, gpu_type, node_selector=node_selector, tolerations=tolerations)
    done = train_on(pool, Path(index.path), Path(model.path), order)
    Path(report.path).write_text(done.rules_page, encoding="utf-8")
    metrics.metadata.update(done.metrics)
    model.metadata.update(digest=done.digest, made_from=digest, code_version=code_version)
    return (done.digest, done.run_id, done.rules)

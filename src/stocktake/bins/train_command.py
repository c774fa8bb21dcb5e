"""The verb `stocktake bins train`: the flags of Udacity's starter, and our own."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from stocktake.bins.train_settings import HEADS, Amp, BinTrainSettings, Optimizer
from stocktake.monitoring.rule_flags import add_rule_flags, read_rules
from stocktake.verbs import Options, add_setting_flags, add_verb, read_settings

# Flags that set the field of BinTrainSettings of their name; its default and type are theirs.
FLAGS: dict[str, str] = {
    "weights": "imagenet (downloaded once), none, or a file: a checkpoint, or torchvision's ResNet50",
    "freeze": "train the last layer alone: fast, but it counts worse",
    "head": "softmax, or ordinal, which knows that 4 is nearer to 5 than 1 is",
    "img": "side in px of the square that photos are fitted into, with nothing cut off",
    "epochs": "passes over the training photos",
    "batch_size": "photos in a step, over all devices",
    "test_batch_size": "photos at once where nothing is learnt",
    "optimizer": "adamw or sgd",
    "lr": "highest learning rate; 0.0003 for adamw and 0.02 for sgd if not given",
    "weight_decay": "0.05 for adamw and 0.0005 for sgd if not given",
    "warmup": "epochs over which the learning rate rises, before it falls along a cosine",
    "ema": "decay of the average of weights that is kept; 0 keeps the weights of the last step",
    "augment": "strength of changes of light, colour and sharpness, with mirroring; 0 = photos as they are",
    "amp": "mixed precision: bf16 on a GPU or a CPU that has it, fp16 on a GPU",
    "patience": "stop after this many epochs without improvement",
    "device": "cpu, 0, or 0,1 for two GPUs; a GPU if there is one when not given",
    "squares": "decoded photos: disk keeps them in the cache, off decodes each time; by the room",
    "seed": "same seed, same weights",
    "project": "folder of trainings",
    "name": "name of this training; the same call continues one that was stopped",
}
OPTIONAL_TYPES = {"lr": float, "weight_decay": float}
MORE: dict[str, dict[str, Any]] = {
    "head": {"choices": HEADS},
    "optimizer": {"choices": get_args(Optimizer)},
    "amp": {"choices": get_args(Amp)},
}


def add_to_verbs(verbs: Any) -> None:
    """Add the verb to the subparsers of `stocktake bins`."""
    text = "train a ResNet50 that counts, and export it"
    example = "--data runs/prepared/index.parquet --img 160 --epochs 10 --batch-size 32"
    parser = add_verb("bins", verbs, "train", run, text, example)
    parser.add_argument("--data", type=Path, required=True, help="a prepared index.parquet")
    add_setting_flags(parser, BinTrainSettings(), FLAGS, OPTIONAL_TYPES, MORE)
    add_rule_flags(parser)


def run(options: Options) -> None:
    """Train within a run of MLflow; print a line for each epoch, where the model is and how it counts."""
    from stocktake import tracking
    from stocktake.bins.counter import TASK
    from stocktake.bins.epoch_line import epoch_line
    from stocktake.bins.training import train
    from stocktake.monitoring.monitor import TrainingMonitor

    settings, rules = read_settings(options, BinTrainSettings), read_rules(options)
    model_dir = Path(settings.project) / settings.name / "model"

    def on_epoch(metrics: dict[str, float], epoch: int) -> None:
        tracking.log_metrics(metrics, epoch)
        print(epoch_line(metrics, epoch), flush=True)

    with tracking.start_run(settings.name, TASK):
        tracking.log_params(asdict(settings), "train")
        monitor = TrainingMonitor(rules) if rules else None
        result = train(options.data, model_dir, settings, on_epoch=on_epoch, monitor=monitor)
    print(f"{result.run_dir}: trained {result.epochs} epochs from {result.start}")
    if result.stopped:
        print(f"stopped early: {result.stopped}")
    for name, value in result.metrics.items():
        print(f"  {name} {value:.4g}")
    print(result.rules)
    print(result.model_dir)

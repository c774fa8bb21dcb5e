"""The verb `stocktake bins train`: the flags of Udacity's starter, and our own."""

from typing import Any, get_args

from stocktake.bins.data_commands import add_classes_flag, add_selection_flags
from stocktake.bins.train_settings import HEADS, Amp, BinTrainSettings, Optimizer
from stocktake.cluster.trainjob_command import add_trainjob_flags, write_trainjob
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
    text = "train a ResNet50 that counts, and export it; photos that were not ingested yet are ingested first"
    parser = add_verb("bins", verbs, "train", run, text, "--data bins --img 160 --epochs 10 --batch-size 32")
    parser.add_argument(
        "--data",
        required=True,
        help="folder, s3:// prefix or https:// address in ABID's layout, or an index.parquet",
    )
    add_selection_flags(parser)
    add_classes_flag(parser)
    add_setting_flags(parser, BinTrainSettings(), FLAGS, OPTIONAL_TYPES, MORE)
    add_rule_flags(parser)
    add_trainjob_flags(parser)
    parser.add_argument("--no-score", action="store_true", help="leave the evaluation out")


def run(options: Options) -> None:
    """Train; print a line for each epoch, where the model is, how it counts and what the rules say."""
    from stocktake import tracking
    from stocktake.bins.epoch_line import epoch_line
    from stocktake.bins.workflow import BinData, train_from
    from stocktake.monitoring.monitor import TrainingMonitor

    settings, rules = read_settings(options, BinTrainSettings), read_rules(options)
    if options.trainjob:
        write_trainjob(options, settings, rules)
        return
    data = BinData(options.data, options.classes, options.file_list, options.quota, options.limit)

    def on_epoch(metrics: dict[str, float], epoch: int) -> None:
        tracking.log_metrics(metrics, epoch)
        print(epoch_line(metrics, epoch), flush=True)

    monitor = TrainingMonitor(rules) if rules else None
    result = train_from(
        data,
        settings,
        score=not options.no_score,
        on_epoch=on_epoch,
        monitor=monitor,
        on_done_epoch=on_epoch,  # a trial of Katib on another node has to tell all of its epochs
    )
    training = result.training
    print(f"{result.folder}: trained {training.epochs} epochs from {training.start}")
    if training.stopped:
        print(f"stopped early: {training.stopped}")
    for name, value in training.metrics.items():
        print(f"  {name} {value:.4g}")
    if training.rules:
        print(training.rules)
    print(training.model_dir)
    if result.evaluation:
        print(result.folder / "evaluation" / "report.html")

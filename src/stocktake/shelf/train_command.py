"""The verb `stocktake shelf train`: every flag of YOLOv5's train.py that has a setting here, and our own."""

import argparse
from typing import Any

from stocktake.cluster.trainjob_command import add_trainjob_flags, write_trainjob
from stocktake.monitoring.rule_flags import add_rule_flags, read_rules
from stocktake.shelf.sku110k_exclusions import EXCLUSIONS
from stocktake.shelf.train_settings import TrainSettings
from stocktake.verbs import add_setting_flags, read_settings

TEXT = "train YOLOv5 and export it; photos that were not ingested yet are ingested and prepared first"
EXAMPLE = "--data SKU110K_fixed --img 416 --batch 4 --epochs 3 --cache"

# Flags that set the field of TrainSettings of their name; its default and type are theirs.
FLAGS: dict[str, str] = {
    "weights": "yolov5{n,s,m,l,x}.pt, a checkpoint, starter, or scratch",
    "model": "size n, s, m, l or x where training starts from scratch",
    "img": "side in px of the square that photos are fitted into",
    "batch": "photos in a step; -1 for what fits into the GPU",
    "epochs": "passes over the training photos",
    "hours": "wall clock to stop after; overrides --epochs",
    "cache": "keep decoded photos in ram, or on disk",
    "freeze": "layers that are not trained; 10 is the backbone",
    "hyp": "augmentation and learning rates: low, med, high, quick, or a file",
    "optimizer": "overrides --hyp's value",
    "lr0": "first learning rate; overrides --hyp's value",
    "patience": "stop after this many epochs without improvement",
    "device": "cpu, 0, or 0,1 for two GPUs; a GPU if there is one when not given",
    "workers": "loading processes; by the cores if not given",
    "seed": "same seed, same weights",
    "project": "folder of trainings",
    "name": "name of this training; the same call continues one that was stopped",
}
OPTIONAL_TYPES = {"hours": float, "lr0": float, "workers": int, "optimizer": str}
MORE: dict[str, dict[str, Any]] = {"cache": {"nargs": "?", "const": "ram"}}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of training to the parser of its verb."""
    parser.add_argument(
        "--data",
        default="/data",
        help="SKU-110K folder, tar or URL, s3:// prefix, data.yaml, or a prepared index.parquet",
    )
    add_setting_flags(parser, TrainSettings(), FLAGS, OPTIONAL_TYPES, MORE)
    add_rule_flags(parser)
    add_trainjob_flags(parser)
    parser.add_argument(
        "--exclude", default="unreadable", choices=EXCLUSIONS, help="photos to leave out, see ingest"
    )
    parser.add_argument("--limit", type=int, help="at most this many photos per split")
    parser.add_argument("--no-score", action="store_true", help="leave the evaluation out")


def run(options: argparse.Namespace) -> None:
    """Train, and print where the model is and how it scores."""
    from stocktake.monitoring.monitor import TrainingMonitor
    from stocktake.shelf.workflow import train_from

    settings, rules = read_settings(options, TrainSettings), read_rules(options)
    if options.trainjob:
        write_trainjob(options, settings, rules)
        return
    monitor = TrainingMonitor(rules) if rules else None
    score = not options.no_score
    result = train_from(options.data, settings, options.exclude, options.limit, score, monitor)
    print(f"{result.folder}: trained {result.training.epochs} epochs from {result.training.start}")
    for name, value in result.training.metrics.items():
        print(f"  {name} {value:.3f}")
    if result.training.rules:
        print(result.training.rules)
    print(result.training.model_dir)
    if result.evaluation:
        print(result.folder / "evaluation" / "report.html")

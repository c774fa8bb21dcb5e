"""The verbs that score a model dir and register it: the same for shelves and bins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stocktake.dataset import SPLITS
from stocktake.verbs import Options, add_verb, say_written


def add_evaluate(group: str, verbs: Any, evaluate: Callable[..., object]) -> None:
    """Add `evaluate`, which scores a model dir.

    Args:
        group: shelf or bins.
        verbs: subparsers of the group.
        evaluate: takes model dir, index, folder to write, split, and the model dirs of before and champion.
    """

    def run(options: Options) -> None:
        evaluate(options.model, options.index, options.out, options.split, options.before, options.champion)
        print((options.out / "summary.md").read_text("utf-8"))
        say_written(options.out, "report.html")

    text, example = "score a model dir beside its baselines", "model runs/prepared/index.parquet --out scores"
    parser = add_verb(group, verbs, "evaluate", run, text, example)
    parser.add_argument("model", type=Path, help="model dir")
    parser.add_argument("index", type=Path, help="prepared index.parquet")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for report.html, metrics.json, summary.md"
    )
    parser.add_argument("--split", default="test", choices=SPLITS, help="photos to score on")
    parser.add_argument("--before", type=Path, help="model dir of the weights that training began with")
    parser.add_argument("--champion", type=Path, help="model dir of the champion")


def add_precisions(group: str, verbs: Any, set_precisions: Callable[..., object]) -> None:
    """Add `precisions`, which scores a model dir in what this machine computes in.

    Args:
        group: shelf or bins.
        verbs: subparsers of the group.
        set_precisions: takes model dir, index and split; writes the card.
    """

    def run(options: Options) -> None:
        from stocktake.markdown import table
        from stocktake.model_card import ModelCard
        from stocktake.precision_report import verdict_rows

        set_precisions(options.model, options.index, options.split)
        print(table(verdict_rows(ModelCard.read(options.model).precision_gate)))

    text = (
        "score what a model loses in the precisions of this machine, and write to its card what may be served"
    )
    parser = add_verb(group, verbs, "precisions", run, text, "model runs/prepared/index.parquet")
    parser.add_argument("model", type=Path, help="model dir; its digest will be another one")
    parser.add_argument("index", type=Path, help="prepared index.parquet")
    parser.add_argument("--split", default="val", choices=SPLITS, help="photos to score on")


def add_register(group: str, verbs: Any, name: str) -> None:
    """Add `register`, which makes a model dir a version, and champion if it is better.

    Args:
        group: shelf or bins.
        verbs: subparsers of the group.
        name: that models of the group are registered under.
    """

    def run(options: Options) -> None:
        from stocktake.promotion import promote

        decision = promote(
            options.model, options.index, options.evaluation, options.name, options.split, options.store
        )
        print(decision.reason)

    text = "register a model dir in MLflow, and make it champion if it is better on the same photos"
    parser = add_verb(group, verbs, "register", run, text, "model runs/prepared/index.parquet scores")
    parser.add_argument("model", type=Path, help="model dir")
    parser.add_argument("index", type=Path, help="prepared index.parquet that it was scored on")
    parser.add_argument("evaluation", type=Path, help="folder that evaluate wrote")
    parser.add_argument("--name", default=name, help="registered model, and hence the InferenceService")
    parser.add_argument("--split", default="test", choices=SPLITS, help="photos that it was scored on")
    parser.add_argument("--store", help="where model dirs are kept; STOCKTAKE_STORE if not given")

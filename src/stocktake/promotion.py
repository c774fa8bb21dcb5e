"""Registers a scored model and lets the gate decide whether it becomes champion."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from stocktake.dataset import DatasetIndex
from stocktake.evaluation_files import EvaluationResult, read_evaluation
from stocktake.model_card import ModelCard, Task
from stocktake.registry import register
from stocktake.registry_gate import GateDecision, gate
from stocktake.settings import load_settings

Evaluate = Callable[[Path, Path, Path, str], EvaluationResult]  # model dir, index, out dir, split
EVALUATIONS: dict[Task, str] = {
    "shelf-detector": "stocktake.shelf.evaluation",
    "bin-counter": "stocktake.bins.evaluation",
}


def promote(
    model_dir: Path,
    index_path: Path,
    evaluation_dir: Path,
    name: str | None = None,
    split: str = "test",
    store: str | None = None,
) -> GateDecision:
    """Upload a model dir, make it challenger, and champion if it is better on the photos it was scored on.

    Only figures that this code made on these photos are compared: a version that has none is scored again
    first; its report is in its run of MLflow.

    Args:
        model_dir: what training exported.
        index_path: the prepared index.parquet that the evaluation used.
        evaluation_dir: its metrics.json and facts.json.
        name: registered model, and hence the InferenceService; the task of the model's card when None.
        split: the photos that were scored; only those of test can make a champion.
        store: where model dirs are kept; STOCKTAKE_STORE when None.

    Raises:
        DataError: there is no evaluation in `evaluation_dir`, it is broken, or of another split.
        ModelError, StoreError, SettingsError: as `register` and `gate` do.
    """
    metrics, facts = read_evaluation(evaluation_dir, split)
    index, task = DatasetIndex.read(index_path), ModelCard.read(model_dir).task
    name = name or task
    register(model_dir, index, metrics, store or load_settings().store, name, split, str(facts.get("Code")))

    def score_again(model: Path) -> Mapping[str, float]:
        with TemporaryDirectory(prefix="stocktake-evaluation-") as folder:
            evaluate: Evaluate = import_module(EVALUATIONS[task]).evaluate
            return evaluate(model, index_path, Path(folder), split).metrics

    return gate(index, name, split, evaluate=score_again)

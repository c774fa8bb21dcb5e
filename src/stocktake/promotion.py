"""Registers a scored model and lets the gate decide whether it becomes champion."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from stocktake.dataset import DatasetIndex
from stocktake.evaluation_files import read_evaluation
from stocktake.registry import GateDecision, gate, register
from stocktake.settings import load_settings

Score = Callable[[Path, Path, Path, str], Mapping[str, float]]  # model dir, index, out dir, split -> metrics


def promote(
    model_dir: Path,
    index_path: Path,
    evaluation_dir: Path,
    name: str,
    split: str,
    store: str | None,
    score: Score,
) -> GateDecision:
    """Upload a model dir, make it challenger, and champion if it is better on the photos it was scored on.

    Only figures that this code made on these photos are compared: a version that has none is scored again
    first; its report is in its run of MLflow.

    Args:
        model_dir: what training exported.
        index_path: the prepared index.parquet that the evaluation used.
        evaluation_dir: its metrics.json and facts.json.
        name: registered model, and hence the InferenceService.
        split: the photos that were scored; only those of test can make a champion.
        store: where model dirs are kept; STOCKTAKE_STORE when None.
        score: evaluates a model dir.

    Raises:
        DataError: there is no evaluation in `evaluation_dir`, it is broken, or of another split.
        ModelError, StoreError, SettingsError: as `register` and `gate` do.
    """
    metrics, facts = read_evaluation(evaluation_dir, split)
    index = DatasetIndex.read(index_path)
    register(model_dir, index, metrics, store or load_settings().store, name, split, str(facts.get("Code")))

    def score_again(model: Path) -> Mapping[str, float]:
        with TemporaryDirectory(prefix="stocktake-evaluation-") as folder:
            return score(model, index_path, Path(folder), split)

    return gate(index, name, split, evaluate=score_again)

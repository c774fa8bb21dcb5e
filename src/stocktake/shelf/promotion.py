"""Registers a scored shelf detector and lets the gate decide whether it becomes champion."""

import json
from pathlib import Path

from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError
from stocktake.files import explain_os_error
from stocktake.registry import GateDecision, gate, register
from stocktake.settings import load_settings


def promote(
    model_dir: Path,
    index_path: Path,
    evaluation_dir: Path,
    name: str = "shelf-detector",
    split: str = "test",
    store: str | None = None,
) -> GateDecision:
    """Upload a model dir, make it challenger, and champion if it is better on the photos it was scored on.

    A champion that was only ever scored on other photos is scored on these first, into
    `evaluation_dir`/champion.

    Args:
        model_dir: what training exported.
        index_path: the prepared index.parquet that the evaluation used.
        evaluation_dir: its metrics.json.
        name: registered model, and hence the InferenceService.
        split: the photos that were scored.
        store: where model dirs are kept; STOCKTAKE_STORE when None.

    Raises:
        DataError: there is no evaluation in `evaluation_dir`.
        ModelError, StoreError, SettingsError: as `register` and `gate` do.
    """
    from stocktake.shelf.evaluation import METRICS_FILE, evaluate

    path = evaluation_dir / METRICS_FILE
    try:
        metrics = json.loads(path.read_text())
    except OSError as error:
        raise DataError(explain_os_error(error, path)) from error
    index = DatasetIndex.read(index_path)
    register(model_dir, index, metrics, store or load_settings().store, name, split)
    return gate(
        index,
        name,
        split,
        evaluate=lambda reigning: evaluate(reigning, index_path, evaluation_dir / "champion", split).metrics,
    )

"""Registers a scored shelf detector and lets the gate decide whether it becomes champion."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError
from stocktake.files import explain_os_error
from stocktake.model_card import verify_sums
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

    Only figures that this code made on these photos are compared: a version that has none is scored again
    first, into `evaluation_dir`/again/<digest>.

    Args:
        model_dir: what training exported.
        index_path: the prepared index.parquet that the evaluation used.
        evaluation_dir: its metrics.json and facts.json.
        name: registered model, and hence the InferenceService.
        split: the photos that were scored; only those of test can make a champion.
        store: where model dirs are kept; STOCKTAKE_STORE when None.

    Raises:
        DataError: there is no evaluation in `evaluation_dir`, it is broken, or of another split.
        ModelError, StoreError, SettingsError: as `register` and `gate` do.
    """
    from stocktake.shelf.evaluation import FACTS_FILE, METRICS_FILE, evaluate

    metrics, facts = (_read_object(evaluation_dir / name) for name in (METRICS_FILE, FACTS_FILE))
    if not all(isinstance(value, int | float) for value in metrics.values()):
        raise DataError(f"{evaluation_dir / METRICS_FILE}: not all of its values are numbers; evaluate again")
    if facts.get("Split") != split:
        raise DataError(f"{evaluation_dir}: scored on {facts.get('Split')} photos, not on {split} photos")
    index = DatasetIndex.read(index_path)
    store = store or load_settings().store
    register(model_dir, index, metrics, store, name, split, str(facts.get("Code")))

    def score_again(model: Path) -> Mapping[str, float]:
        return evaluate(model, index_path, evaluation_dir / "again" / verify_sums(model)[:12], split).metrics

    return gate(index, name, split, evaluate=score_again)


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object that an evaluation has written."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(explain_os_error(error, path)) from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); evaluate again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object, found {found!r:.40}; evaluate again")
    return found

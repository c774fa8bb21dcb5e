"""Registers a scored bin counter and lets the gate decide whether it becomes champion."""

from collections.abc import Mapping
from pathlib import Path

from stocktake import promotion
from stocktake.bins.counter import TASK
from stocktake.registry import GateDecision


def promote(
    model_dir: Path,
    index_path: Path,
    evaluation_dir: Path,
    name: str = TASK,
    split: str = "test",
    store: str | None = None,
) -> GateDecision:
    """`stocktake.promotion.promote` for bins."""
    return promotion.promote(model_dir, index_path, evaluation_dir, name, split, store, _score)


def _score(model_dir: Path, index_path: Path, out_dir: Path, split: str) -> Mapping[str, float]:
    from stocktake.bins.evaluation import evaluate

    return evaluate(model_dir, index_path, out_dir, split).metrics

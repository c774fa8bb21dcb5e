"""The last step: into the registry, and past the champion or not."""

from typing import NamedTuple

from kfp import dsl

from components.image import train_component


@train_component
def promote_shelf_detector(
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    run_id: str,
    model_name: str,
    split: str,
    card: dsl.Output[dsl.Markdown],
) -> NamedTuple("Promotion", [("promoted", bool), ("reason", str), ("model_uri", str)]):  # type: ignore[valid-type]
    """Register a model dir as challenger; make it champion if it is better on the same photos.

    Args:
        prepared: What label preparation made; its photos are those that both are compared on.
        model: Model dir; uploaded once, under its digest.
        evaluation: Its metrics.json.
        run_id: MLflow run of the training.
        model_name: Registered model, and hence the InferenceService.
        split: The photos that the metrics were measured on.
        card: The comparison and the decision.

    Returns:
        Whether it was promoted, why, and where the model dir is.
    """
    import json
    from pathlib import Path

    from stocktake.shelf.evaluation import evaluate

    from stocktake.dataset import DatasetIndex
    from stocktake.registry import gate, register
    from stocktake.settings import load_settings
    from stocktake.tracking import start_run

    index_path = Path(prepared.path) / "index.parquet"
    index, out = DatasetIndex.read(index_path), Path(card.path).with_name("champion")
    metrics = json.loads((Path(evaluation.path) / "metrics.json").read_text())
    with start_run("promote", run_id=run_id):
        version = register(Path(model.path), index, metrics, load_settings().store, model_name, split)
        decision = gate(
            index, model_name, split, evaluate=lambda reigning: evaluate(reigning, index_path, out).metrics
        )
    Path(card.path).write_text(decision.markdown(), encoding="utf-8")
    return (decision.promoted, decision.reason, version.model_uri)

"""The last step: into the registry, and past the champion or not."""

from typing import NamedTuple

from kfp import dsl

from components.image import train_component


@train_component
def promote_model(
    index: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    run_id: str,
    model_name: str,
    split: str,
    card: dsl.Output[dsl.Markdown],
) -> NamedTuple("Promotion", [("promoted", bool), ("reason", str), ("model_uri", str)]):  # type: ignore[valid-type]
    """Register a model dir as challenger; make it champion if it is better on the same photos.

    Args:
        index: What the preparation made; its photos are those that both are compared on.
        model: Model dir; uploaded once, under its digest.
        evaluation: Its metrics.json.
        run_id: MLflow run of the training.
        model_name: Registered model, and hence the InferenceService.
        split: The photos that the metrics were measured on.
        card: The comparison and the decision.

    Returns:
        Whether it was promoted, why, and where the model dir is.
    """
    from pathlib import Path

    from stocktake.promotion import promote
    from stocktake.tracking import start_run

    with start_run("promote", run_id=run_id):
        decision = promote(Path(model.path), Path(index.path), Path(evaluation.path), model_name, split)
    Path(card.path).write_text(decision.markdown(), encoding="utf-8")
    return (decision.promoted, decision.reason, decision.challenger.model_uri)

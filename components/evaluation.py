"""The step that says how good a model is, and against what."""

from kfp import dsl

from components.image import train_component


@train_component
def evaluate_shelf_detector(
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    digest: str,
    run_id: str,
    code_version: str,
    split: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> None:
    """Score a model as it will be served, beside the seed's heuristic and constant boxes.

    Args:
        prepared: What label preparation made.
        model: Model dir.
        digest: Digest of the model dir.
        run_id: MLflow run of the training, which gets the figures.
        code_version: Version of the library; part of the cache's key.
        split: The photos to score on.
        evaluation: Folder with metrics.json, report.html, summary.md and annotated photos.
        metrics: Average precision and voids.
        report: Tables, curves and annotated photos.
        card: The tables.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.shelf.evaluation import evaluate

    from stocktake.tracking import start_run

    out = Path(evaluation.path)
    with start_run("evaluate", run_id=run_id):
        result = evaluate(Path(model.path), Path(prepared.path) / "index.parquet", out, split=split)
    copyfile(out / "report.html", report.path)
    copyfile(out / "summary.md", card.path)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
    evaluation.metadata.update(model=digest, code_version=code_version)

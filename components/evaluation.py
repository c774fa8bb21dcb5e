"""The step that says how good a model is, and against what."""

from kfp import dsl

from components.image import train_component


@train_component
def evaluate_shelf_detector(
    index: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    run_id: str,
    model_name: str,
    split: str,
    weights: str,
    size: str,
    img: int,
    feedback: str,
    scored: dsl.Output[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> None:
    """Score a model as it will be served, beside the champion, the sliding-box heuristic and constant boxes.

    Args:
        index: What label preparation made.
        model: Model dir.
        run_id: MLflow run of the training, which gets the figures.
        model_name: Registered model, whose champion is scored on the same photos.
        split: The photos to score on.
        weights: What training started from, scored too if it is a detector of products.
        size: As in training.
        img: As in training.
        feedback: Index of what people said about voids, which the confidence learns from; empty for none.
        scored: The model dir as it was scored: another one only where it has learnt from feedback.
        evaluation: Folder with metrics.json, report.html, summary.md and annotated photos.
        metrics: Average precision and voids.
        report: Tables, curves and annotated photos.
        card: The tables.
    """
    from math import isfinite
    from pathlib import Path
    from shutil import copyfile

    from stocktake.registry import fetch_champion
    from stocktake.shelf.evaluation import evaluate
    from stocktake.shelf.export import export_start
    from stocktake.shelf.recalibration import recalibrate
    from stocktake.tracking import start_run

    index_path, ours, scratch = Path(index.path), Path(scored.path), Path(card.path).parent
    before = export_start(weights, size, img, index_path, scratch / "before")
    with start_run("evaluate", run_id=run_id):
        learnt = recalibrate(Path(model.path), ours, feedback, index_path)
        champion = fetch_champion(model_name, scratch / "champion")
        result = evaluate(ours, index_path, Path(evaluation.path), split, before, champion, learnt)
    copyfile(result.report, report.path)
    copyfile(result.summary, card.path)
    metrics.metadata.update({name: value for name, value in result.metrics.items() if isfinite(value)})


@train_component
def evaluate_bin_counter(
    index: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    run_id: str,
    model_name: str,
    split: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> None:
    """Score a model as it will be served, beside the champion and counters that do not learn.

    Args:
        index: What the preparation made.
        model: Model dir.
        run_id: MLflow run of the training, which gets the figures.
        model_name: Registered model, whose champion is scored on the same photos.
        split: The photos to score on.
        evaluation: Folder with metrics.json, report.html, summary.md and photos.
        metrics: Counts, their probabilities, and verified records.
        report: Tables, plots and photos.
        card: The tables.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.bins.evaluation import evaluate
    from stocktake.registry import fetch_champion
    from stocktake.tracking import start_run

    with start_run("evaluate", run_id=run_id):
        champion = fetch_champion(model_name, Path(card.path).with_name("champion"))
        result = evaluate(Path(model.path), Path(index.path), Path(evaluation.path), split, champion=champion)
    copyfile(result.report, report.path)
    copyfile(result.summary, card.path)
    metrics.metadata.update(result.metrics)

"""The second step: labels that a trainer can take."""

from kfp import dsl

from components.image import train_component


@train_component
def prepare_shelf_labels(
    dataset: dsl.Input[dsl.Dataset],
    digest: str,
    code_version: str,
    prepared: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Clip boxes to their photos, drop those without area and the duplicates in the training split.

    Args:
        dataset: What ingest made.
        digest: Digest of its index; Kubeflow's cache does not look into artefacts, but does at parameters.
        code_version: Version of the library; part of the cache's key, and kept with the result.
        prepared: Folder with index.parquet, report.json and report.html.
        metrics: Boxes that were kept, clipped and dropped.
        report: The label report: boxes per photo, sizes, positions.
        card: The counts.

    Returns:
        The digest of the prepared index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.shelf.label_prep import prepare

    done = prepare(Path(dataset.path) / "index.parquet", Path(prepared.path))
    copyfile(Path(prepared.path) / "report.html", report.path)
    Path(card.path).write_text(done.markdown(), encoding="utf-8")
    for name, value in done.metrics().items():
        metrics.log_metric(name, value)
    prepared.metadata.update(digest=done.digest, made_from=digest, code_version=code_version)
    return done.digest

"""The second step: labels that a trainer can take."""

from kfp import dsl

from components.image import train_component


@train_component
def prepare_shelf_labels(
    ingested: dsl.Input[dsl.Dataset],
    digest: str,
    code_version: str,
    index: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Clip boxes to their photos, drop those without area and the duplicates in the training split.

    Args:
        ingested: The index that ingest made.
        digest: Its digest; Kubeflow's cache does not look into artefacts, but does at parameters.
        code_version: Version of the library; part of the cache's key, and kept with the result.
        index: index.parquet with boxes that can be learnt from.
        metrics: Boxes that were kept, clipped and dropped.
        report: The label report: boxes per photo, sizes, positions.
        card: The counts.

    Returns:
        The digest of the prepared index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.shelf.label_prep import prepare

    out = Path(index.path).with_name("prepared")
    done = prepare(Path(ingested.path), out)
    copyfile(out / "index.parquet", index.path)
    copyfile(out / "report.html", report.path)
    Path(card.path).write_text(done.markdown(), encoding="utf-8")
    metrics.metadata.update(done.metrics())
    index.metadata.update(digest=done.digest, made_from=digest, code_version=code_version)
    return done.digest


@train_component
def prepare_bins(
    ingested: dsl.Input[dsl.Dataset],
    digest: str,
    code_version: str,
    classes: list,
    split_seed: int,
    index: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Keep the counts that are classes, and split photos 8:1:1 without tearing a bin apart.

    Args:
        ingested: The index that ingest made.
        digest: Its digest; Kubeflow's cache does not look into artefacts, but does at parameters.
        code_version: Version of the library; part of the cache's key, and kept with the result.
        classes: Counts to tell apart.
        split_seed: Another seed, another split.
        index: index.parquet with a split for each photo.
        metrics: Photos per split, and the leak that a split by photo would have had.
        report: The split report.
        card: The counts.

    Returns:
        The digest of the prepared index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.bins.split import prepare
    from stocktake.bins.split_report import SplitReport
    from stocktake.data_report import read_report

    out = Path(index.path).with_name("prepared")
    prepare(Path(ingested.path), out, [int(count) for count in classes], split_seed)
    done = read_report(SplitReport, out)
    copyfile(out / "index.parquet", index.path)
    copyfile(out / "report.html", report.path)
    Path(card.path).write_text(done.markdown(), encoding="utf-8")
    metrics.metadata.update(done.metrics())
    index.metadata.update(digest=done.digest, made_from=digest, code_version=code_version)
    return done.digest

"""The first step: photos and annotations in, an index out."""

from kfp import dsl

from components.image import train_component


@train_component
def ingest_shelves(
    source: str,
    exclude: str,
    copy: bool,
    limit: int,
    index: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Read photos in SKU-110K's layout into an index; decode every one to its last byte.

    Args:
        source: Folder, tar file, http(s) URL of one, or s3:// prefix, with `images` and `annotations`.
        exclude: What is left out: none, unreadable, or strict (also the published list of 54 photos).
        copy: Copy the photos of a folder or a prefix into the store; those of an archive always go there.
        limit: At most this many photos per split; 0 for all.
        index: index.parquet: a row per photo with its address, digest, size, split and boxes.
        metrics: Photos and boxes that were kept, photos that were left out.
        report: The data report.
        card: The counts.

    Returns:
        The digest of the index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.shelf.sku110k import ingest

    out = Path(index.path).with_name("ingested")  # what an earlier try has read is known there
    found = ingest(source, out, copy=copy, exclude=exclude, limit=limit or None)
    copyfile(out / "index.parquet", index.path)
    copyfile(out / "report.html", report.path)
    Path(card.path).write_text(found.markdown(), encoding="utf-8")
    metrics.metadata.update(found.metrics())
    index.metadata["digest"] = found.digest
    return found.digest


@train_component
def ingest_bins(
    source: str,
    quota: int,
    limit: int,
    classes: list,
    copy: bool,
    index: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Read bins in ABID's layout into an index; decode every photo to its last byte.

    Args:
        source: Folder, s3:// prefix or https:// address of a public bucket, with `bin-images` and `metadata`.
        quota: At most this many bins of each class; 0 for all bins.
        limit: At most this many bins; 0 for all.
        classes: Counts to tell apart.
        copy: Copy the photos of a folder or a prefix into the store, as tar shards.
        index: index.parquet: a row per photo with its address, digest, size, quantity and group.
        metrics: Bins that were kept, bins that were left out.
        report: The data report.
        card: The counts.

    Returns:
        The digest of the index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.bins.abid import ingest
    from stocktake.bins.ingest_report import IngestReport
    from stocktake.data_report import read_report

    out = Path(index.path).with_name("ingested")  # what an earlier try has read is known there
    wanted = {int(count): quota for count in classes} if quota else None
    ingest(source, out, copy=copy, quota=wanted, limit=limit or None)
    found = read_report(IngestReport, out)
    copyfile(out / "index.parquet", index.path)
    copyfile(out / "report.html", report.path)
    Path(card.path).write_text(found.markdown(), encoding="utf-8")
    metrics.metadata.update(found.metrics())
    index.metadata["digest"] = found.digest
    return found.digest

"""The first steps: photos and annotations in, an index out."""

from typing import NamedTuple

from kfp import dsl

from components.image import train_component


@train_component
def plan_shelves(
    source: str,
    pods: int,
    gpus: int,
    trainjob: bool,
    node_selector: dict,
) -> NamedTuple(  # type: ignore[valid-type]
    "ShelfPlan",
    [
        ("Output", list),
        ("training_gpus", str),
        ("training_cpu", str),
        ("training_memory", str),
        ("training_nodes", dict),
    ],
):
    """Ask the source for its first file, and say how the work is shared out.

    Args:
        source: Folder, tar file, http(s) URL of one, or s3:// prefix, with `images` and `annotations`.
        pods: To read the source with.
        gpus: To train on.
        trainjob: A TrainJob trains.
        node_selector: Labels of the nodes with GPUs.

    Returns:
        The parts of the ingest, and what the pod of the training asks for: GPUs, CPU, memory and nodes. It is
        little, and no GPU, where a TrainJob does the work.
    """
    from stocktake.cluster.pod_size import SHELF_TRAINING, step_size
    from stocktake.ingest_shards import list_shards
    from stocktake.shelf.sku110k_source import check_answers, open_source

    check_answers(open_source(source))
    return (list_shards(pods), *step_size(not trainjob, SHELF_TRAINING, gpus, node_selector))


@train_component
def ingest_shelves(
    source: str,
    shard: str,
    exclude: str,
    copy: bool,
    limit: int,
    part: dsl.Output[dsl.Dataset],
) -> None:
    """Read a part of the photos in SKU-110K's layout; decode every one to its last byte.

    Args:
        source: Folder, tar file, http(s) URL of one, or s3:// prefix, with `images` and `annotations`.
        shard: The K-th of N parts, K/N.
        exclude: What is left out: none, unreadable, or strict (also the published list of 54 photos).
        copy: Copy the photos of a folder or a prefix into the store; those of an archive always go there.
        limit: At most this many photos per split; 0 for all.
        part: What was read, for the merge; what an earlier try has read is known there.
    """
    from pathlib import Path

    from stocktake.shelf.sku110k import ingest

    ingest(source, Path(part.path), copy=copy, exclude=exclude, limit=limit or None, shard=shard)


@train_component
def merge_shelves(
    parts: dsl.Input[list[dsl.Dataset]],
    index: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Make one index of all parts.

    Args:
        parts: What was read.
        index: index.parquet: a row per photo with its address, digest, size, split and boxes.
        metrics: Photos and boxes that were kept, photos that were left out.
        report: The data report.
        card: The counts.

    Returns:
        The digest of the index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.data_report import read_report
    from stocktake.shelf.ingest_report import IngestReport
    from stocktake.shelf.sku110k_merge import merge

    out = Path(index.path).with_name("merged")
    merge([Path(part.path) for part in parts], out)
    found = read_report(IngestReport, out)
    copyfile(out / "index.parquet", index.path)
    copyfile(out / "report.html", report.path)
    Path(card.path).write_text(found.markdown(), encoding="utf-8")
    metrics.metadata.update(found.metrics())
    index.metadata["digest"] = found.digest
    return found.digest


@train_component
def plan_bins(
    source: str,
    pods: int,
    nodes: int,
    engine: str,
    gpus: int,
    node_selector: dict,
) -> NamedTuple(  # type: ignore[valid-type]
    "Plan",
    [
        ("Output", list),
        ("training_gpus", str),
        ("training_cpu", str),
        ("training_memory", str),
        ("training_nodes", dict),
        ("search_gpus", str),
        ("search_cpu", str),
        ("search_memory", str),
        ("search_nodes", dict),
    ],
):
    """Ask the source for its first file, and say how the work is shared out.

    Args:
        source: Folder, s3:// prefix or https:// address of a public bucket, with `bin-images` and `metadata`.
        pods: To read the source with.
        nodes: To train on; more than one are those of a TrainJob.
        engine: That searches: optuna in the step's own pod, or katib.
        gpus: Of each machine that trains.
        node_selector: Labels of the nodes with GPUs.

    Returns:
        The parts of the ingest, and what the pods of training and of search ask for: GPUs, CPU, memory and
        nodes. It is little, and no GPU, where others do the work.
    """
    from stocktake.bins.abid_source import check_answers, open_source
    from stocktake.cluster.pod_size import BIN_TRAINING, SEARCH, step_size
    from stocktake.ingest_shards import list_shards
    from stocktake.settings import load_settings

    check_answers(open_source(source, load_settings()))
    training = step_size(nodes == 1, BIN_TRAINING, gpus, node_selector)
    return (list_shards(pods), *training, *step_size(engine == "optuna", SEARCH, gpus, node_selector))


@train_component
def ingest_bins(
    source: str,
    shard: str,
    quota: int,
    limit: int,
    classes: list,
    copy: bool,
    part: dsl.Output[dsl.Dataset],
) -> None:
    """Read a part of the bins in ABID's layout; decode every photo to its last byte.

    Args:
        source: Folder, s3:// prefix or https:// address of a public bucket, with `bin-images` and `metadata`.
        shard: The K-th of N parts, K/N.
        quota: At most this many bins of each class; 0 for all bins.
        limit: At most this many bins; 0 for all.
        classes: Counts to tell apart.
        copy: Copy the photos of a folder or a prefix into the store, as tar shards.
        part: What was read, for the merge; what an earlier try has read is known there.
    """
    from pathlib import Path

    from stocktake.bins.abid import ingest

    wanted = {int(count): quota for count in classes} if quota else None
    ingest(source, Path(part.path), copy=copy, quota=wanted, limit=limit or None, shard=shard)


@train_component
def merge_bins(
    parts: dsl.Input[list[dsl.Dataset]],
    index: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
) -> str:
    """Make one index of all parts: quota over all of them, groups across them.

    Args:
        parts: What was read.
        index: index.parquet: a row per photo with its address, digest, size, quantity and group.
        metrics: Bins that were kept, bins that were left out.
        report: The data report.
        card: The counts.

    Returns:
        The digest of the index.
    """
    from pathlib import Path
    from shutil import copyfile

    from stocktake.bins.abid_merge import merge
    from stocktake.bins.ingest_report import IngestReport
    from stocktake.data_report import read_report

    out = Path(index.path).with_name("merged")
    merge([Path(part.path) for part in parts], out)
    found = read_report(IngestReport, out)
    copyfile(out / "index.parquet", index.path)
    copyfile(out / "report.html", report.path)
    Path(card.path).write_text(found.markdown(), encoding="utf-8")
    metrics.metadata.update(found.metrics())
    index.metadata["digest"] = found.digest
    return found.digest

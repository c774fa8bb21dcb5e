"""What the ingests of shelves and bins have in common as verbs: shards, and the verb that merges them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stocktake.verbs import Options, add_verb, say_written

WRITTEN = ("index.parquet", "report.html")


def add_out_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says where an index goes."""
    text = "folder for index.parquet, report.json, report.html"
    parser.add_argument("--out", type=Path, required=True, help=text)


def add_shard_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that shares an ingest out over machines."""
    parser.add_argument("--shard", metavar="K/N", help="only the K-th of N parts; then merge them")


def say_ingested(options: Options) -> None:
    """Print what an ingest has left."""
    if options.shard:
        print(f"{options.out}: shard {options.shard} is read; merge it with the others")
    else:
        say_written(options.out, *WRITTEN)


def add_merge(group: str, verbs: Any, merge: Callable[[list[Path], Path], object]) -> None:
    """Add `merge`, which makes one index of shards.

    Args:
        group: shelf or bins.
        verbs: subparsers of the group.
        merge: takes the folders of the shards and the folder to write.
    """

    def run(options: Options) -> None:
        merge(options.folders, options.out)
        say_written(options.out, *WRITTEN)

    text = "make one index of the shards that several machines have ingested"
    parser = add_verb(group, verbs, "merge", run, text, "runs/shard1 runs/shard2 --out runs/ingest")
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder", help="--out of the shards")
    add_out_flag(parser)

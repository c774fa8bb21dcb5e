"""The verbs of `stocktake bins` for data: ingest, merge, verify, prepare."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from stocktake.bins import CLASSES
from stocktake.ingest_verbs import add_merge, add_out_flag, add_shard_flag, say_ingested
from stocktake.verbs import Options, add_verb, say_written

GROUP = "bins"
LONGEST_LIST = 20  # names that verify prints


def add_to_verbs(verbs: Any) -> None:
    """Add the verbs to the subparsers of `stocktake bins`."""
    for add in (_add_ingest, partial(add_merge, GROUP, merge=_merge), _add_verify, _add_prepare):
        add(verbs)


def _add_ingest(verbs: Any) -> None:
    parser = add_verb(
        GROUP, verbs, "ingest", _ingest, "read photos and metadata into an index", "abid --out runs/ingest"
    )
    parser.add_argument(
        "source",
        help="folder, s3://bucket/prefix, or the https:// address of a public bucket, such as"
        " https://aft-vbi-pds.s3.amazonaws.com",
    )
    add_out_flag(parser)
    parser.add_argument("--store", help="where copied photos go; STOCKTAKE_STORE if not given")
    parser.add_argument(
        "--copy",
        action="store_true",
        help="copy the photos of a folder or prefix into the store, as tar shards",
    )
    add_selection_flags(parser)
    parser.add_argument("--workers", type=int, help="threads; one per core if not given")
    add_shard_flag(parser)
    parser.add_argument("--name", help="of the data set; the source's own if not given")
    parser.add_argument("--licence", help="of the photos; if not given the source's licence.txt, or ABID's")


def _ingest(options: Options) -> None:
    from stocktake.bins.abid import ingest

    ingest(
        options.source,
        options.out,
        options.store,
        options.copy,
        options.file_list,
        options.quota,
        options.limit,
        options.workers,
        options.shard,
        options.name,
        options.licence,
    )
    say_ingested(options)


def _merge(folders: list[Path], out_dir: Path) -> None:
    from stocktake.bins.abid_merge import merge

    merge(folders, out_dir)


def _add_verify(verbs: Any) -> None:
    text = "compare a store with what its indexes name: expected, present, wrong digest"
    parser = add_verb(GROUP, verbs, "verify", _verify, text, "s3://bucket/store")
    parser.add_argument("store", help="store that ingest copied to, its --out folder, or an index.parquet")
    parser.add_argument("--workers", type=int, help="threads; at least eight if not given")


def _verify(options: Options) -> None:
    from stocktake.bins.verify import verify
    from stocktake.errors import DataError

    report = verify(options.store, options.workers)
    for name in report.indexes:
        print(name)
    for label, names in (("missing", report.missing), ("wrong digest", report.wrong)):
        for where, photo in names[:LONGEST_LIST]:
            print(f"{label}: {photo} in {where}")
    print(report.summary())
    if not report.is_whole:
        raise DataError(f"{options.store} is not whole; run its ingest again")


def _add_prepare(verbs: Any) -> None:
    text = "keep the counts that are classes, and split photos 8:1:1 without tearing a bin apart"
    parser = add_verb(
        GROUP, verbs, "prepare", _prepare, text, "runs/ingest/index.parquet --out runs/prepared"
    )
    parser.add_argument("index", type=Path, help="index.parquet of ingest")
    add_out_flag(parser)
    add_classes_flag(parser)
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="INDEX",
        help="an earlier prepared index: its photos stay in their splits",
    )


def _prepare(options: Options) -> None:
    from stocktake.bins.split import prepare

    prepare(options.index, options.out, options.classes or CLASSES, options.seed, options.keep)
    say_written(options.out, "index.parquet", "report.html")


def add_selection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which bins of a source to read."""
    parser.add_argument(
        "--file-list", type=Path, metavar="JSON", help="only these bins: a dict of count -> metadata paths"
    )
    parser.add_argument(
        "--quota",
        type=read_quota,
        metavar="N",
        help="bins of each count: 1-5=500, or 1=500,2=300; 500 for all counts, which reads all metadata",
    )
    parser.add_argument("--limit", type=int, help="at most this many bins")


def add_classes_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says which counts to keep."""
    text = "counts to tell apart; 1 to 5 if not given"
    parser.add_argument("--classes", type=int, nargs="+", help=text)


def read_quota(text: str) -> int | dict[int, int]:
    """'500' as 500, '1=500,2=300' as {1: 500, 2: 300}, '1-5=500' as 500 of each of these."""
    try:
        if "=" not in text:
            return int(text)
        quota = {}
        for pair in text.split(","):
            counts, most = pair.split("=")
            first, _, last = counts.partition("-")
            named = range(int(first), int(last or first) + 1)
            if not named:
                raise ValueError  # 5-1
            quota.update(dict.fromkeys(named, int(most)))
        return quota
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor like 1-5=500 or 1=500,2=300"
        ) from None

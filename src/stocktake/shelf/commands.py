"""The verbs of `stocktake shelf`: arguments in, one library call, a line on what came out."""

from functools import partial
from pathlib import Path
from typing import Any

from stocktake import score_verbs
from stocktake.ingest_verbs import add_merge, add_out_flag, add_shard_flag, say_ingested
from stocktake.shelf import find_command, train_command
from stocktake.shelf.sku110k_exclusions import EXCLUSIONS
from stocktake.verbs import Options, add_verb, say_written

_verb = partial(add_verb, "shelf")


def add_to(groups: Any) -> None:
    """Add the group `shelf` with its verbs to the subparsers of the program."""
    shelf = groups.add_parser(
        "shelf",
        help="products and voids on supermarket shelves (SKU-110K)",
        description="From shelf photos to a model that finds voids. The verbs in their usual order:",
    )
    verbs = shelf.add_subparsers(metavar="VERB", required=True)
    for add in (
        _add_draw,
        _add_ingest,
        partial(add_merge, "shelf", merge=_merge),
        _add_prepare,
        _add_train,
        _add_export,
        _add_labelling,
        partial(score_verbs.add_evaluate, "shelf", evaluate=_evaluate),
        partial(score_verbs.add_precisions, "shelf", set_precisions=_set_precisions),
        partial(score_verbs.add_register, "shelf", name="shelf-detector"),
        find_command.add_to_verbs,
    ):
        add(verbs)


def _add_draw(verbs: Any) -> None:
    parser = _verb(
        verbs, "draw", _draw, "draw photos with known voids, in SKU-110K's format", "--out photos --train 200"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    for split, count in (("train", 120), ("val", 30), ("test", 30)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"photos in {split}")
    parser.add_argument("--difficulty", default="default", help="easy, default or hard")
    parser.add_argument(
        "--family", default="demo", help="packs and backs: demo, or starter which shares none with it"
    )
    parser.add_argument("--width", type=int, default=960, help="px")
    parser.add_argument("--height", type=int, default=1280, help="px")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same photos")


def _draw(options: Options) -> None:
    from stocktake.synthetic.draw_settings import DrawSettings
    from stocktake.synthetic.shelves import write_dataset

    settings = DrawSettings.preset(
        options.difficulty, family=options.family, width=options.width, height=options.height
    )
    counts = {split: getattr(options, split) for split in ("train", "val", "test")}
    print(write_dataset(options.out, counts, settings, options.seed))


def _add_ingest(verbs: Any) -> None:
    parser = _verb(
        verbs, "ingest", _ingest, "read photos and boxes into an index", "SKU110K_fixed --out runs/ingest"
    )
    parser.add_argument(
        "source", help="folder, .tar or .tar.gz file, http(s) URL of one, or s3://bucket/prefix"
    )
    add_out_flag(parser)
    parser.add_argument("--store", help="where photos of an archive go; STOCKTAKE_STORE if not given")
    parser.add_argument(
        "--copy", action="store_true", help="copy the photos of a folder or prefix into the store too"
    )
    parser.add_argument(
        "--exclude", default="unreadable", choices=EXCLUSIONS,
        help="strict also leaves out the published list of 54 damaged or badly labelled photos",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, help="threads; one per core if not given")
    parser.add_argument("--limit", type=int, help="at most this many photos per split")
    add_shard_flag(parser)


def _ingest(options: Options) -> None:
    from stocktake.shelf.sku110k import ingest

    ingest(
        options.source,
        options.out,
        options.store,
        options.copy,
        options.exclude,
        options.workers,
        options.limit,
        options.shard,
    )
    say_ingested(options)


def _merge(folders: list[Path], out_dir: Path) -> None:
    from stocktake.shelf.sku110k_merge import merge

    merge(folders, out_dir)


def _add_labelling(verbs: Any) -> None:
    text = "make an index of the photos whose voids people have judged, for labelling"
    parser = _verb(verbs, "labelling", _labelling, text, "feedback.jsonl --out runs/labelling")
    parser.add_argument("feedback", help="feedback index of the gateway: a file or s3:// object")
    parser.add_argument("--out", type=Path, required=True, help="folder for index.parquet")


def _labelling(options: Options) -> None:
    from stocktake.shelf.labelling import write_labelling_set

    index = write_labelling_set(options.feedback, options.out)
    left_out = index.metadata["left_out"]["judged_in_part"]
    print(f"{len(index.photos)} photos; left out: {left_out} that are judged in part")
    say_written(options.out, "index.parquet")


def _add_prepare(verbs: Any) -> None:
    text = "clip and deduplicate boxes, and write YOLOv5's folders"
    parser = _verb(verbs, "prepare", _prepare, text, "runs/ingest/index.parquet --out runs/prepared")
    parser.add_argument("index", type=Path, help="index.parquet of ingest")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for index.parquet, reports and the folder yolo"
    )
    parser.add_argument(
        "--no-tree", action="store_true", help="leave the folder yolo out; training makes its own"
    )


def _prepare(options: Options) -> None:
    from stocktake.dataset import DatasetIndex
    from stocktake.shelf.label_prep import prepare
    from stocktake.shelf.yolo_labels import write_tree

    prepare(options.index, options.out)
    say_written(options.out, "index.parquet", "report.html")
    if not options.no_tree:
        print(write_tree(DatasetIndex.read(options.out / "index.parquet"), options.out / "yolo"))


def _add_train(verbs: Any) -> None:
    train_command.add_flags(
        _verb(verbs, "train", train_command.run, train_command.TEXT, train_command.EXAMPLE)
    )


def _add_export(verbs: Any) -> None:
    text = "make a model dir of a checkpoint: ONNX, card, checksums, parity checked, thresholds chosen on val"
    parser = _verb(
        verbs,
        "export",
        _export,
        text,
        "runs/train/exp/train/weights/best.pt --index runs/prepared/index.parquet --out model",
    )
    parser.add_argument("weights", type=Path, help="checkpoint of a training")
    parser.add_argument("--index", type=Path, required=True, help="the index.parquet that it was trained on")
    parser.add_argument("--out", type=Path, required=True, help="model dir to make")
    parser.add_argument("--img", type=int, default=640, help="side in px of the square that the model sees")


def _export(options: Options) -> None:
    from stocktake.dataset import DatasetIndex
    from stocktake.shelf.export import export_model
    from stocktake.shelf.thresholds import set_thresholds

    export_model(options.weights, options.out, index=DatasetIndex.read(options.index), img=options.img)
    set_thresholds(options.out, options.index)
    print(options.out)


def _set_precisions(*arguments: Any) -> None:
    from stocktake.shelf.precisions import set_precisions

    set_precisions(*arguments)


def _evaluate(*arguments: Any) -> None:
    from stocktake.shelf.evaluation import evaluate

    evaluate(*arguments)

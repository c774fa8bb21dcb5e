"""The verbs of `stocktake bins` for models: export, evaluate, register, count."""

import argparse
import json
from pathlib import Path
from typing import Any

from stocktake import score_verbs
from stocktake.bins.verification import ERROR_RATE, check_error_rate
from stocktake.setting_checks import expect
from stocktake.verbs import Options, add_verb

GROUP = "bins"
MODEL_NAME = "bin-counter"


def add_to_verbs(verbs: Any) -> None:
    """Add the verbs to the subparsers of `stocktake bins`."""
    _add_export(verbs)
    score_verbs.add_evaluate(GROUP, verbs, _evaluate)
    score_verbs.add_precisions(GROUP, verbs, _set_precisions)
    score_verbs.add_register(GROUP, verbs, MODEL_NAME)
    _add_count(verbs)


def _add_export(verbs: Any) -> None:
    text = "make a model dir of a checkpoint: ONNX, card, checksums, parity checked, thresholds chosen on val"
    parser = add_verb(
        GROUP,
        verbs,
        "export",
        _export,
        text,
        "runs/bins/exp/weights/best.pt --index runs/prepared/index.parquet --out model",
    )
    parser.add_argument("weights", type=Path, help="checkpoint of a training")
    parser.add_argument("--index", type=Path, required=True, help="the index.parquet that it was trained on")
    parser.add_argument("--out", type=Path, required=True, help="model dir to make")
    add_error_rate(parser)


def add_error_rate(parser: argparse.ArgumentParser) -> None:
    """Add the flag --error-rate, of which wrong records may be accepted and right ones rejected."""
    text = "share of wrong records that may be accepted, and of right ones that may be rejected"
    parser.add_argument("--error-rate", type=float, default=ERROR_RATE, help=text)


def _export(options: Options) -> None:
    from stocktake.bins.export import export_model
    from stocktake.bins.thresholds import set_thresholds
    from stocktake.dataset import DatasetIndex

    check_error_rate(options.error_rate)
    index = DatasetIndex.read(options.index)
    export_model(options.weights, options.out, index)
    set_thresholds(options.out, options.index, error_rate=options.error_rate)
    print(options.out)


def _evaluate(*arguments: Any) -> None:
    from stocktake.bins.evaluation import evaluate

    evaluate(*arguments)


def _set_precisions(*arguments: Any) -> None:
    from stocktake.bins.precisions import set_precisions

    set_precisions(*arguments)


def _add_count(verbs: Any) -> None:
    text = "count the items on photos of bins, and verify a recorded quantity"
    parser = add_verb(GROUP, verbs, "count", _count, text, "photo.jpg --model model --expected-quantity 4")
    parser.add_argument("photos", type=Path, nargs="+", metavar="photo", help="JPEG, PNG or WebP file")
    parser.add_argument("--model", type=Path, required=True, help="model dir")
    parser.add_argument("--expected-quantity", type=int, metavar="N", help="what was recorded for each photo")


def _count(options: Options) -> None:
    from stocktake.bins.counter import BinCounter
    from stocktake.errors import UnsupportedImage
    from stocktake.files import read_file

    if options.expected_quantity is not None:
        expect(options.expected_quantity >= 0, "expected_quantity", options.expected_quantity, "0 or more")
    counter = BinCounter.load(options.model)
    for path in options.photos:
        try:
            report = counter.count(read_file(path), options.expected_quantity)
        except UnsupportedImage as error:
            raise type(error)(f"{path}: {error}") from error
        print(json.dumps({"photo": str(path), **report.to_json()}))

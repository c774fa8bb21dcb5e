"""The verb `stocktake shelf find`."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stocktake.verbs import Options, add_verb


def add_to_verbs(verbs: Any) -> None:
    """Add the verb to the subparsers of `stocktake shelf`."""
    text = "find products and voids on photos, and paint them"
    example = "photo.jpg --model runs/demo/model --out found"
    parser = add_verb("shelf", verbs, "find", _find, text, example)
    parser.add_argument("photos", type=Path, nargs="+", metavar="photo", help="JPEG, PNG or WebP file")
    parser.add_argument("--model", type=Path, required=True, help="model dir")
    parser.add_argument("--out", type=Path, help="folder for painted photos; none are painted if not given")


def painted_names(photos: Sequence[Path]) -> list[str]:
    """A JPEG's name for each photo: its own, and a number from the second photo of a name on."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for path in photos:
        name = path.stem
        while seen[name.lower()]:  # where the case of letters makes no difference, too
            name = f"{path.stem}-{seen[path.stem.lower()] + 1}"
            seen[path.stem.lower()] += 1
        seen[name.lower()] += 1
        names.append(f"{name}.jpg")
    return names


def _find(options: Options) -> None:
    from stocktake.errors import UnsupportedImage
    from stocktake.files import read_file
    from stocktake.images import decode_photo, encode_jpeg
    from stocktake.shelf.detector import ShelfDetector
    from stocktake.shelf.drawing import draw_report

    detector = ShelfDetector.load(options.model)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    for path, name in zip(options.photos, painted_names(options.photos), strict=True):
        data = read_file(path)
        try:
            report = detector.detect(data)
        except UnsupportedImage as error:
            raise type(error)(f"{path}: {error}") from error
        told = {"photo": str(path), **report.to_json()}
        if options.out:
            (options.out / name).write_bytes(encode_jpeg(draw_report(decode_photo(data), report)))
            told["painted"] = str(options.out / name)
        print(json.dumps(told))

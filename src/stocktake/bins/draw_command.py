"""The verb `stocktake bins draw`."""

from pathlib import Path
from typing import Any

from stocktake.verbs import Options, add_verb


def add_to_verbs(verbs: Any) -> None:
    """Add the verb to the subparsers of `stocktake bins`."""
    text = "draw photos of bins with a known number of items, in ABID's format"
    parser = add_verb("bins", verbs, "draw", _draw, text, "--out bins --count 2000")
    parser.add_argument("--out", type=Path, required=True, help="folder to make: bin-images and metadata")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="photos")
    parser.add_argument("--difficulty", default="default", help="easy, default or hard")
    parser.add_argument(
        "--items",
        default="training",
        choices=("training", "abid"),
        help="how many items the bins hold: mostly 1 to 5, all equally often; or 0 to 10 as in ABID",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same photos")
    parser.add_argument("--workers", type=int, help="processes; one per core if not given")


def _draw(options: Options) -> None:
    from stocktake.synthetic.bin_settings import ABID_COUNTS, TRAINING_COUNTS, BinDrawSettings
    from stocktake.synthetic.bins import write_dataset

    counts = {"training": TRAINING_COUNTS, "abid": ABID_COUNTS}[options.items]
    settings = BinDrawSettings.preset(options.difficulty, counts=counts)
    print(write_dataset(options.out, options.count, settings, options.seed, options.workers))

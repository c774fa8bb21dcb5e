"""How well counting connected components does on drawn bins: what a trained counter has to beat.

    python benchmarks/blob_count.py --photos 1000

Draws as many bins of each of 1 to 5 items and prints accuracy, mean absolute error and root mean squared
error of `stocktake.bins.blob_count`, its answers clipped to 1 to 5. Goal: an accuracy of at most .40 at the
difficulty default, so that the drawn bins ask for more than that.
"""

import argparse
from functools import partial

import numpy as np

from stocktake.bins.blob_count import count_blobs
from stocktake.synthetic.bin_settings import DIFFICULTIES, BinDrawSettings
from stocktake.synthetic.bins import draw_bin
from stocktake.synthetic.output import map_processes

CLASSES = (1, 2, 3, 4, 5)


def main() -> None:
    """Draw, count, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--photos", type=int, default=1000, help="per difficulty (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing (default: %(default)s)")
    args = parser.parse_args()
    for difficulty in DIFFICULTIES:
        count = partial(count_one, difficulty=difficulty, seed=args.seed)
        found = np.array(list(map_processes(count, range(args.photos), None)))
        truth = np.resize(CLASSES, args.photos)
        error = np.clip(found, CLASSES[0], CLASSES[-1]) - truth
        print(
            f"{difficulty}: {args.photos} photos, accuracy {np.mean(error == 0):.3f},"
            f" MAE {np.abs(error).mean():.2f}, RMSE {np.sqrt(np.mean(error**2)):.2f}"
        )


def count_one(number: int, difficulty: str, seed: int) -> int:
    """Blobs in drawn photo `number`."""
    rng = np.random.default_rng([seed, number])
    settings = BinDrawSettings.preset(difficulty)
    return count_blobs(draw_bin(rng, settings, CLASSES[number % len(CLASSES)]).photo)


if __name__ == "__main__":
    main()

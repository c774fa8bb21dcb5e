"""Time to find the voids of one photo, beside the sliding-box heuristic on the same boxes.

    python benchmarks/voids.py --rounds 30

Draws shelves of about 300 products on photos of 2448x3264 px and takes the fastest of the rounds for each
shelf, so that other work on the machine counts little. Goal: under 10 ms with the photo.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from stocktake.shelf.sliding_box import find_voids_by_sliding
from stocktake.shelf.voids import find_voids
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import draw_shelf

GOAL_MS = 10.0
WIDTH, HEIGHT, BOXES = 2448, 3264, 300


def main() -> None:
    """Draw, measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--shelves", type=int, default=5, help="shelves to draw (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="runs of each way (default: %(default)s)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    ours, blind, sliding = [], [], []
    for number in range(args.shelves):
        boxes, scores, photo = large_shelf(np.random.default_rng(number))
        ours.append(fastest_ms(lambda b=boxes, s=scores, p=photo: find_voids(b, s, p), args.rounds))
        blind.append(fastest_ms(lambda b=boxes, s=scores: find_voids(b, s, None), args.rounds))
        sliding.append(
            fastest_ms(lambda b=boxes, s=scores, p=photo: find_voids_by_sliding(b, s, p), args.rounds)
        )
    mine, geometry, theirs = (float(np.median(times)) for times in (ours, blind, sliding))
    print(
        f"{BOXES} boxes on {WIDTH}x{HEIGHT}, median of {args.shelves} shelves, one thread: {mine:.1f} ms with"
        f" the photo (goal: under {GOAL_MS:.0f}), {geometry:.1f} ms by geometry alone, {theirs:.1f} ms the"
        f" sliding-box heuristic, ratio {mine / theirs:.2f}"
    )


def large_shelf(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A drawn shelf of many small products, enlarged to a phone's photo, and its first 300 boxes."""
    settings = DrawSettings.preset("default", tiers=(11, 11), widest=0.05, landscape=0.0)
    shelf = draw_shelf(rng, settings)
    scale = np.tile([WIDTH / shelf.photo.shape[1], HEIGHT / shelf.photo.shape[0]], 2)
    photo = cv2.resize(shelf.photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    boxes = (shelf.boxes * scale).astype(np.float32)[:BOXES]
    return boxes, np.ones(len(boxes), np.float32), photo


def fastest_ms(call: Callable[[], object], rounds: int) -> float:
    """Shortest of several runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


if __name__ == "__main__":
    main()

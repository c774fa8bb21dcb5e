"""Fit the weights of `stocktake.shelf.confidence` on drawn shelves and print them.

    python benchmarks/fit_void_confidence.py --photos 200

Photos of the family `starter` are drawn at the default and the hard difficulty, so that shelves of the family
`demo`, on which voids are evaluated, stay unseen. Each photo is looked at with its true boxes and as a
detector would see it: some boxes missing, the others shaken, some false ones with low scores. The weights
without a photo are fitted on the same shelves with runs of products held out of the true boxes, since missed
products cannot be told from missing ones by geometry. A gap is a void if it matches a known one at IoU .3.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from stocktake.boxes import FloatArray
from stocktake.shelf.confidence import DRAWN_WEIGHTS, GEOMETRY_WEIGHTS
from stocktake.shelf.gaps import Gaps
from stocktake.shelf.holdout import drop_boxes, remove_runs
from stocktake.shelf.tiers import find_tiers
from stocktake.shelf.void_scoring import VoidSet, match_voids
from stocktake.shelf.voids import describe, find_candidates
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import DrawnShelf, draw_shelf
from stocktake.void_kinds import LOW_STOCK

Example = tuple[dict[str, np.ndarray], np.ndarray]
PENALTY = 0.15  # on the squared weights: few photos must not make the confidence extreme


def main() -> None:
    """Draw, fit, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--photos", type=int, default=200, help="photos to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing (default: %(default)s)")
    args = parser.parse_args()
    seen: list[Example] = []
    unseen: list[Example] = []
    for number in tqdm(range(args.photos), unit="photo"):
        rng = np.random.default_rng([args.seed, number])
        settings = DrawSettings.preset("hard" if number % 4 == 0 else "default", family="starter")
        shelf = draw_shelf(rng, settings)
        seen += examples_with_photo(shelf, rng)
        unseen += examples_without(shelf, rng)
    print_fit("GEOMETRY_WEIGHTS", unseen, list(GEOMETRY_WEIGHTS))
    print_fit("DRAWN_WEIGHTS", seen, list(DRAWN_WEIGHTS))


def examples_with_photo(shelf: DrawnShelf, rng: np.random.Generator) -> Iterator[Example]:
    """Gaps among the true boxes and among those of a simulated detector."""
    truth = VoidSet.of(shelf.voids)
    yield _examples(shelf.boxes, np.ones(len(shelf.boxes), np.float32), shelf.photo, truth)
    yield _examples(*simulate_detector(shelf.boxes, rng), shelf.photo, truth)


def examples_without(shelf: DrawnShelf, rng: np.random.Generator) -> Iterator[Example]:
    """Gaps among what is left of the true boxes, shaken or not, when products are held out."""
    for shake in (0.0, 0.05):
        boxes = _shaken(shelf.boxes, shake, rng)
        held = remove_runs(boxes, rng, ends=True)
        truth = VoidSet.of(shelf.voids).join(held.truth)
        yield _examples(boxes[held.kept], np.ones(int(held.kept.sum()), np.float32), None, truth)


def simulate_detector(boxes: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Boxes and scores as a good or poor detector gives them: up to 25% missed, 10% false with low scores."""
    missed, shake, wrong = rng.uniform(0, 0.25), rng.uniform(0, 0.08), rng.uniform(0, 0.1)
    found = _shaken(boxes[drop_boxes(len(boxes), missed, rng)], shake, rng)
    size = boxes[:, 2:] - boxes[:, :2]
    false = boxes[rng.permutation(len(boxes))[: round(wrong * len(boxes))]]
    false = false + np.tile(rng.uniform(-1.5, 1.5, (len(false), 2)) * np.median(size, axis=0), 2)
    scores = np.concatenate([rng.beta(9, 2, len(found)), rng.beta(4, 6, len(false))])
    return np.concatenate([found, false]).astype(np.float32), scores.astype(np.float32)


def _shaken(boxes: FloatArray, share: float, rng: np.random.Generator) -> FloatArray:
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return (boxes + share * size * rng.standard_normal(boxes.shape)).astype(np.float32)


def _examples(boxes: FloatArray, scores: FloatArray, photo: np.ndarray | None, truth: VoidSet) -> Example:
    gaps: Gaps = find_candidates(boxes, find_tiers(boxes), photo)
    if not len(gaps):
        return {}, np.zeros(0, np.bool_)
    features = describe(boxes, scores, gaps, photo)
    match = match_voids(VoidSet.of_boxes(gaps.box, np.clip(gaps.room, 0, 3)), truth)
    told = (match != -2) & (gaps.kind != LOW_STOCK)
    return {name: values[told] for name, values in features.items()}, match[told] >= 0


def print_fit(title: str, examples: list[Example], names: list[str]) -> None:
    """Logistic regression with a ridge penalty; prints the weights and how well calibrated they are."""
    x = np.concatenate([np.stack([f[n] for n in names], axis=1) for f, y in examples if len(y)]).astype(float)
    y = np.concatenate([y for _, y in examples]).astype(float)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = x @ weights
        error = 1 / (1 + np.exp(-score)) - y
        value = np.logaddexp(0, score).sum() - y @ score + PENALTY * (weights**2).sum()
        return value, x.T @ error + 2 * PENALTY * weights

    weights = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    probability = 1 / (1 + np.exp(-x @ weights))
    print(f"# {len(y)} gaps, {int(y.sum())} voids")
    print(f"{title} = {{")
    for name, weight in zip(names, weights, strict=True):
        print(f'    "{name}": {weight:.2f},')
    print("}")
    for low in np.arange(0, 1, 0.2):
        inside = (probability >= low) & (probability < low + 0.2)
        share = y[inside].mean() if inside.any() else float("nan")
        print(f"# said {low:.1f}-{low + 0.2:.1f}: {inside.sum()} gaps, {share:.2f} are voids")


if __name__ == "__main__":
    main()

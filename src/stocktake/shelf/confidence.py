"""How probable it is that a gap is a void: a logistic function of how it lies and how it looks."""

import numpy as np

from stocktake.shelf.gaps import Gaps
from stocktake.shelf.level import Numbers, median
from stocktake.shelf.texture import Looks

# Fitted by benchmarks/fit_void_confidence.py on 200 drawn shelves of the family `starter`: 2,831 gaps by
# geometry alone, 2,168 of them voids; 2,312 gaps seen with their photo, 730 of them voids.
GEOMETRY_WEIGHTS = {
    "one": 1.45,
    "room": 3.61,
    "edge": -8.38,
    "edge_agree": 7.00,
    "empty": 0.17,
    "blank": -3.29,
    "flat": -1.01,
    "headroom": 2.30,
    "ragged": -1.43,
}
DRAWN_WEIGHTS = {
    "one": -2.58,
    "room": 3.63,
    "edge": -2.20,
    "edge_agree": 0.31,
    "empty": 1.12,
    "blank": -4.74,
    "flat": -0.61,
    "doubt": -2.38,
    "ragged": -0.35,
    "few": -0.54,
    "energy": -2.78,
    "light": -1.39,
    "unlike": 3.24,
}
# Drawn shelves are tidier than shops, where shelves end in aisles, doors and displays that look bare, most
# backs lie in shade, flat gaps are often rails, and products differ so much in width that room says less.
SHOPS = {"room": -1.2, "edge": -1.5, "flat": -0.6, "light": -1.1}
PHOTO_WEIGHTS = {name: weight + SHOPS.get(name, 0.0) for name, weight in DRAWN_WEIGHTS.items()}


def geometry_features(gaps: Gaps, scores: Numbers) -> dict[str, Numbers]:
    """Name -> (m,): how the gaps lie between boxes that the detector gave `scores` (n,)."""
    width, height = (gaps.box[:, 2:] - gaps.box[:, :2]).T
    empty = gaps.kind == "empty_tier"
    edge = (gaps.kind == "edge").astype(np.float32)
    return {
        "one": np.ones(len(gaps), np.float32),
        "room": np.log(np.clip(gaps.room, 0.2, 1.5)),
        "edge": edge,
        "edge_agree": edge * gaps.agree,
        "empty": empty.astype(np.float32),
        "blank": gaps.blank,
        "flat": np.where(empty, 0, np.log(np.clip(width / np.maximum(height, 1), 1, 20))),
        "headroom": gaps.headroom,
        "ragged": np.clip(gaps.ragged, 0, 0.4),
        "few": np.log(np.clip(15 / gaps.size, 1, 5)),
        "doubt": 1 - np.minimum(scores[gaps.left], scores[gaps.right]) / max(median(scores), 1e-3),
    }


def photo_features(
    gap: Looks, products: Looks, colours: Numbers, left: Numbers, right: Numbers
) -> dict[str, Numbers]:
    """Name -> (m,): how the gaps look beside `products`, and their `colours` beside those of the flanks.

    A gap with too few pixels counts as printed and bright as a usual product, and like its flanks.
    """
    away = [np.abs(colours - flank).mean(axis=1) for flank in (left, right)]
    return {
        "energy": np.log(np.clip(_ratio(gap.energy, products.energy), 0.05, 3)),
        "light": np.clip(_ratio(gap.light, products.light), 0, 2),
        "unlike": np.clip(np.nan_to_num(np.fmin(*away)) / 64, 0, 1),
    }


def confidence(features: dict[str, Numbers], weights: dict[str, float]) -> Numbers:
    """(m,) probability 0..1 that each gap is a void."""
    score = sum(weight * features[name] for name, weight in weights.items())
    return 1 / (1 + np.exp(-np.asarray(score)))


def _ratio(value: Numbers, products: Numbers) -> Numbers:
    seen = products[np.isfinite(products)]
    usual = median(seen) if len(seen) else np.nan
    return np.nan_to_num(value / max(usual, 1e-3), nan=1.0)

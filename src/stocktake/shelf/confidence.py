"""How probable it is that a gap is a void: a logistic function of how it lies and how it looks."""

import numpy as np

from stocktake.shelf.gaps import Gaps
from stocktake.shelf.level import Numbers, median
from stocktake.shelf.texture import Looks
from stocktake.void_kinds import EDGE, EMPTY_TIER

# Fitted by benchmarks/fit_void_confidence.py on 200 drawn shelves of the family `starter`: 2,785 gaps by
# geometry alone, 2,158 of them voids; 2,299 gaps seen with their photo, 732 of them voids.
GEOMETRY_WEIGHTS = {
    "one": 1.19,
    "room": 3.87,
    "edge": -8.14,
    "edge_agree": 6.82,
    "empty": 0.20,
    "blank": -3.61,
    "flat": -1.32,
    "headroom": 2.32,
    "ragged": -2.47,
}
DRAWN_WEIGHTS = {
    "one": -2.84,
    "room": 3.81,
    "edge": -1.10,
    "edge_agree": -0.45,
    "empty": 1.24,
    "blank": -4.66,
    "flat": -0.87,
    "doubt": -2.44,
    "ragged": -1.77,
    "few": -0.50,
    "energy": -2.72,
    "light": -1.31,
    "unlike": 3.13,
}
# Drawn shelves are tidier than shops, where shelves end in aisles, doors and displays that look bare, most
# backs lie in shade, flat gaps are often rails, lines of products are ragged where tiers are misread, and
# products differ so much in width that room says less. Set by hand while looking at photos of real shelves.
SHOPS = {"room": -1.2, "edge": -2.0, "flat": -0.6, "ragged": -2.2, "light": -1.1}
PHOTO_WEIGHTS = {name: weight + SHOPS.get(name, 0.0) for name, weight in DRAWN_WEIGHTS.items()}


def geometry_features(gaps: Gaps, scores: Numbers) -> dict[str, Numbers]:
    """Name -> (m,): how the gaps lie between boxes that the detector gave `scores` (n,)."""
    width, height = (gaps.box[:, 2:] - gaps.box[:, :2]).T
    empty = gaps.kind == EMPTY_TIER
    edge = (gaps.kind == EDGE).astype(np.float32)
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

"""The photos of an evaluation report: where the counter is most wrong, and where it is least sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stocktake.bins.evaluation_scores import Said, Truth
from stocktake.dataset import DatasetIndex, Photo
from stocktake.images import Pixels
from stocktake.photo_pass import read_pixels

HOW_MANY = 6


@dataclass(frozen=True, slots=True)
class Example:
    """A photo (H, W, 3) uint8 RGB; `rank`: worst-1 … or unsure-1 …; `caption`: what was said about it."""

    rank: str
    photo: Pixels
    caption: str


def pick_examples(
    index: DatasetIndex, photos: Sequence[Photo], truth: Truth, ours: Said, count: int = HOW_MANY
) -> list[Example]:
    """Up to `count` photos that are counted most wrongly, then as many of the others with the most entropy.

    Of two equal errors the one with less probability for the true count is worse. Photos that are counted
    right are never among the worst.
    """
    assert ours.probabilities is not None
    share = ours.probabilities.astype(np.float64)
    of_truth = share[np.arange(len(share)), truth.index]
    error = np.abs(ours.counts - truth.counts)
    worst = [int(place) for place in np.lexsort((of_truth, -error)) if error[place]][:count]
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=1)
    unsure = [int(place) for place in np.argsort(-entropy, kind="stable") if place not in worst][:count]
    ranked = [(f"{kind}-{rank}", place) for kind, places in (("worst", worst), ("unsure", unsure))
              for rank, place in enumerate(places, start=1)]  # fmt: skip
    return [
        Example(
            rank,
            read_pixels(index, photos[place]),
            _caption(rank, photos[place], truth.classes.tolist(), int(ours.counts[place]), share[place]),
        )
        for rank, place in ranked
    ]


def _caption(rank: str, photo: Photo, classes: list[int], counted: int, share: np.ndarray) -> str:
    said = ", ".join(
        f"{count}: {probability:.2f}"
        for count, probability in zip(classes, share.tolist(), strict=True)
        if probability >= 0.005
    )
    kind, _, number = rank.partition("-")
    return (
        f"{kind.capitalize()} {number}: {photo.name}, recorded {photo.quantity}, counted {counted} ({said})"
    )

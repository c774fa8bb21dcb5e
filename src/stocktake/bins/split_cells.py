"""The cells of a split, which are the photos of one class in train, val or test: filled, counted, refused."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence

from stocktake.bins.split_hash import LOWEST_SHARE, TRAIN_SHARE, VAL_SHARE
from stocktake.dataset import SPLITS, Photo
from stocktake.errors import DataError

Cells = dict[int, dict[str, int]]  # count -> split -> photos

_MIDDLES = {
    "train": TRAIN_SHARE / 2,
    "val": TRAIN_SHARE + VAL_SHARE / 2,
    "test": (1 + TRAIN_SHARE + VAL_SHARE) / 2,
}


def fill_cells(
    photos: Iterable[Photo], splits: Mapping[str, str], places: Mapping[str, float], fixed: Container[str]
) -> dict[str, tuple[str, int]]:
    """Find a group for each cell that is empty: one that leaves no cell empty behind it.

    Of such groups the smallest is taken, and of these the one whose hash is nearest. A cell stays empty where
    there is none.

    Args:
        photos: of all groups.
        splits: of the groups.
        places: of the groups, see `place_of`.
        fixed: groups that stay where they are.

    Returns:
        Group -> its new split, and the count that had no photo there.
    """
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for photo in photos:
        counts[photo.group][photo.quantity or 0] += 1
    now, found = dict(splits), dict[str, tuple[str, int]]()
    groups = Counter((count, now[group]) for group in counts for count in counts[group])
    for count, split in [(count, split) for count in sorted({c for c, _ in groups}) for split in SPLITS]:
        if groups[count, split]:
            continue
        able = [
            (held.total(), abs(places[group] - _MIDDLES[split]), group)
            for group, held in counts.items()
            if held[count] and group not in fixed and all(groups[other, now[group]] > 1 for other in held)
        ]
        if able:
            _, _, group = min(able)
            groups.subtract((other, now[group]) for other in counts[group])
            groups.update((other, split) for other in counts[group])
            now[group], found[group] = split, (split, count)
    return found


def count_cells(photos: Iterable[Photo], classes: Sequence[int]) -> Cells:
    """Photos per class and split."""
    found = Counter((photo.quantity, photo.split) for photo in photos)
    return {count: {split: found[count, split] for split in SPLITS} for count in classes}


def thin_cells(cells: Cells) -> dict[str, str]:
    """Cells with no photo, and those of val and test with less than half of their share -> what they have."""
    thin = {}
    for count, found in cells.items():
        total = sum(found.values())
        for split, photos in found.items():
            if not photos or (split != "train" and photos < LOWEST_SHARE * total):
                thin[f"{count} items, {split}"] = f"{photos or 'none'} of {total} photos"
    return thin


def refuse_untrained_classes(cells: Cells) -> None:
    """Raise DataError where a class has no train photo."""
    for count, found in cells.items():
        if not found["train"]:
            raise DataError(
                f"no photo with {count} items is in train, and no bin can go there without emptying another"
                f" class's place; ingest more of them, take another seed, or leave {count} out of classes"
            )


def refuse_small_classes(photos: Iterable[Photo]) -> None:
    """Raise DataError where a class is in fewer groups than there are splits."""
    holders: dict[int, set[str]] = defaultdict(set)
    for photo in photos:
        holders[photo.quantity or 0].add(photo.group)
    for count, groups in sorted(holders.items()):
        if len(groups) < len(SPLITS):
            raise DataError(
                f"all photos with {count} items are of {len(groups)} bin{'s' * (len(groups) > 1)}, too few"
                f" for train, val and test; ingest more of them, or leave {count} out of classes"
            )


def refuse_empty_classes(kept: Iterable[Photo], classes: Sequence[int], other: Counter[int]) -> None:
    """Raise DataError where a class has no photo; `other` has the photos of counts that are no class."""
    found = Counter(photo.quantity or 0 for photo in kept)
    empty = [count for count in classes if not found[count]]
    if empty:
        counts = ", ".join(f"{count}: {photos}" for count, photos in sorted((found + other).items()))
        raise DataError(
            f"no photo has {' or '.join(map(str, empty))} items (photos by count: {counts or 'none'});"
            " ingest some, or leave that out of classes"
        )

"""The split of bins into train, val and test: grouped, by hash, the same tomorrow when there is more data."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stocktake.bins import CLASSES
from stocktake.bins.abid_ids import id_of, order
from stocktake.bins.split_cells import (
    count_cells,
    fill_cells,
    refuse_empty_classes,
    refuse_small_classes,
    refuse_untrained_classes,
    thin_cells,
)
from stocktake.bins.split_hash import HIGHEST_SHARE, LOWEST_SHARE, TRAIN_SHARE, VAL_SHARE, place_of, split_at
from stocktake.bins.split_report import SplitReport
from stocktake.dataset import INDEX_FILE, SPLITS, DatasetIndex, Photo
from stocktake.errors import DataError, SettingsError
from stocktake.setting_checks import MAX_SEED, expect_whole

log = logging.getLogger(__name__)


def prepare(
    index_path: Path,
    out_dir: Path,
    classes: Sequence[int] = CLASSES,
    seed: int = 0,
    keep: Path | None = None,
) -> Path:
    """Keep the photos of some counts, split them 8:1:1, write {index.parquet, report.json, report.html}.

    Args:
        index_path: of ingest, with quantities and groups.
        out_dir: made if needed.
        classes: the counts that a model is to tell apart; photos of other counts are left out and counted.
        seed: another one gives another split.
        keep: an earlier prepared index, whose photos stay in the split that they have there.

    Returns:
        The path of the prepared index; its metadata has `classes`, `seed` and `made_from`, the digest of the
        index that it was made from, and with `keep` the digest of that, `kept_from`.

    Raises:
        DataError: the index can't be read or is not one of bins, a class is empty or has no train photo, or
            there are fewer photos than the splits need.
        SettingsError: a class or the seed is impossible.
        StoreError: `out_dir` can't be written.
    """
    wanted = check_classes(classes)
    expect_whole("seed", seed, 0, MAX_SEED)
    index = DatasetIndex.read(index_path)
    unknown = [photo.name for photo in index.photos if photo.quantity is None]
    if unknown:
        raise DataError(
            f"{index_path}: {unknown[0]} has no quantity; it takes an index of `stocktake bins ingest`"
        )
    prepared, report = split_bins(index, wanted, seed, DatasetIndex.read(keep) if keep else None)
    path = out_dir / INDEX_FILE
    prepared.write(path)
    report.write(out_dir)
    log.info("%s", report.summary())
    if report.thin:
        cells = "; ".join(f"{cell}: {found}" for cell, found in report.thin.items())
        log.warning("scores will say little of %s. Ingest more bins, or take another seed", cells)
    return path


def split_bins(
    index: DatasetIndex, classes: tuple[int, ...], seed: int, keep: DatasetIndex | None = None
) -> tuple[DatasetIndex, SplitReport]:
    """The photos of `classes`, each with its split, and the account of it; arguments as of `prepare`.

    Raises:
        DataError: as `prepare`.
    """
    kept = [photo for photo in index.photos if photo.quantity in classes]
    other = Counter(photo.quantity or 0 for photo in index.photos if photo.quantity not in classes)
    refuse_empty_classes(kept, classes, other)
    known = {photo.name: photo.split for photo in keep.photos if photo.split in SPLITS} if keep else {}
    splits, moved = assign_splits(kept, seed, known)
    photos = [replace(photo, split=splits[photo.group]) for photo in kept]
    cells = count_cells(photos, classes)
    refuse_untrained_classes(cells)
    about = {"classes": list(classes), "seed": seed, "made_from": index.digest}
    if keep:
        about["kept_from"] = keep.digest
    prepared = DatasetIndex(photos, index.store, {**index.metadata, **about})
    report = SplitReport(
        name=str(index.metadata.get("name", "bins")),
        source=str(index.metadata.get("source", "not known")),
        licence=str(index.metadata.get("licence", "not known")),
        digest=prepared.digest,
        made_from=index.digest,
        seed=seed,
        photos_read=len(index.photos),
        photos_kept=len(photos),
        other_counts={str(count): other[count] for count in sorted(other)},
        groups={split: len({photo.group for photo in prepared.split(split)}) for split in SPLITS},
        classes={str(count): found for count, found in cells.items()},
        thin=thin_cells(cells),
        moved=moved,
        leak=leak(photos),
        leak_by_photo=random_leak(photos),
    )
    return prepared, report


def assign_splits(
    photos: Sequence[Photo], seed: int, known: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Give each group its split: 8:1:1 by the hash of (seed, group), held near that within each class.

    The hash puts each group at a place in [0, 1): train lies below .8, val below .9, test above. It knows
    nothing of other photos, so what is added or taken away moves nothing. But its shares are those of so many
    throws of dice: of 100 photos of a class 4 may come to test, or 17. So where val or test would have less
    than half or more than one and a half of its share of a class, the border of that class is shifted, by as
    few groups as will do. That happens now and then among 100 bins of a class and never among 1,000. Only
    then can a group near a border change its split when data is added; and since val lies between train and
    test, a photo that was trained on does not become one to test on, but in the smallest of sets. Exact
    shares are not to be had with that: they would move groups with every new photo.

    For these shares a group counts, with all of its photos, for the class of its first photo. Where photos
    of a group differ in class, those of one class in val or test can be fewer than half of its share, as few
    as 2 % of the class among 60 to 400 groups, which the report names, or none. A split that lacks a class
    gets a group that holds it, see `fill_cells`, if there is one that can be spared.

    A group is named by its first photo, so one that grows at its lower end is another group to the hash.
    `known`, the splits that photos had, keeps even that in place: a group goes where its known photos are. If
    those are in several splits, since what came between them makes one group of two, it goes to train if any
    is there, else to val, so that nothing that was learnt from is tested on. Other groups of a class that has
    known ones go by their hash alone, or to a split that lacks a class.

    Returns:
        Group -> split, and the groups that are not where their hash puts them -> what was done.

    Raises:
        DataError: a class has too few groups for three splits.
    """
    sizes = Counter(photo.group for photo in photos)
    first: dict[str, int] = {}
    for photo in sorted(photos, key=lambda photo: order(id_of(photo.name))):
        first.setdefault(photo.group, photo.quantity or 0)
    refuse_small_classes(photos)
    places = {group: place_of(group, seed) for group in sizes}
    splits, moved = _known_splits(photos, known or {})
    fixed = set(splits)
    with_known = {first[group] for group in fixed}
    strata: dict[int, list[str]] = defaultdict(list)
    for group in sorted(places.keys() - splits.keys(), key=lambda group: (-places[group], group)):
        if first[group] in with_known:
            splits[group] = split_at(places[group])
        else:
            strata[first[group]].append(group)
    reasons: dict[str, str] = {}
    for count, groups in strata.items():
        found = _split_stratum(groups, sizes, places)
        splits |= found
        reasons |= dict.fromkeys(found, f"for the shares of {count}")
    for group, (split, count) in fill_cells(photos, splits, places, fixed).items():
        splits[group], reasons[group] = split, f"which had no photo with {count} items"
    for group, reason in reasons.items():
        if (hashed := split_at(places[group])) != splits[group]:
            moved[group] = f"from {hashed} to {splits[group]}, {reason}"
    return splits, {group: moved[group] for group in sorted(moved, key=order)}


def _known_splits(photos: Iterable[Photo], known: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The splits of the groups that have known photos, and which of them bring together several splits."""
    holders: dict[str, set[str]] = defaultdict(set)
    for photo in photos:
        if photo.name in known:
            holders[photo.group].add(known[photo.name])
    splits, moved = {}, {}
    for group, found in holders.items():
        splits[group] = next(split for split in SPLITS if split in found)  # train, val, test
        if len(found) > 1:
            others = " and ".join(split for split in SPLITS if split in found and split != splits[group])
            moved[group] = f"from {others} to {splits[group]}, where others of its photos were"
    return splits, moved


def leak(photos: Iterable[Photo]) -> float:
    """The share of test photos that have a mate of their group in train; 0 where there is no test photo."""
    in_train = set()
    test = []
    for photo in photos:
        if photo.split == "train":
            in_train.add(photo.group)
        elif photo.split == "test":
            test.append(photo.group)
    return sum(group in in_train for group in test) / len(test) if test else 0.0


def random_leak(photos: Sequence[Photo]) -> float:
    """The leak that a split of 8:1:1 by photo, regardless of groups, has on average.

    A test photo with n mates has none of them in train with a chance of .2 to the power of n.
    """
    sizes = Counter(photo.group for photo in photos)
    leaks = (1 - (1 - TRAIN_SHARE) ** (sizes[photo.group] - 1) for photo in photos)
    return sum(leaks) / len(photos) if photos else 0.0


def check_classes(classes: Sequence[int]) -> tuple[int, ...]:
    """The classes in ascending order.

    Raises:
        SettingsError: there are fewer than two, one is repeated or no count.
    """
    for count in classes:
        expect_whole("a class", count, 0, 255)
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise SettingsError(f"classes is {list(classes)}; it must be two or more different counts")
    return tuple(sorted(classes))


def _split_stratum(
    groups: Sequence[str], sizes: Mapping[str, int], places: Mapping[str, float]
) -> dict[str, str]:
    """Cut the groups of one class, which descend by place, into test, val and train.

    A split takes what lies above its border and fits into its share, and more while that is too little: the
    next that fits, or else the smallest. Each of the three gets a group where there are three.
    """
    total = sum(sizes[group] for group in groups)
    free, splits = list(groups), dict[str, str]()
    for split, border, to_leave in (("test", TRAIN_SHARE + VAL_SHARE, 2), ("val", TRAIN_SHARE, 1)):
        photos = 0
        while len(free) > to_leave:
            room = HIGHEST_SHARE * total - photos
            group = next((group for group in free if sizes[group] <= room), None)
            if photos >= LOWEST_SHARE * total and (group is None or places[group] < border):
                break
            group = group or min(free, key=lambda group: sizes[group])
            free.remove(group)
            splits[group] = split
            photos += sizes[group]
    return splits | dict.fromkeys(free, "train")

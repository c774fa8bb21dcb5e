"""What would end a training badly, found before any work is done."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.dataset import DatasetIndex
from stocktake.devices import check_amp, check_devices
from stocktake.errors import DataError
from stocktake.files import require_room

WEIGHTS_BYTES = 95e6  # of a ResNet50 in fp32
COPIES = 2 * 4 + 2 * 1  # last.pt (network, average, two moments) and best.pt, each beside its successor


def check_photos(index: DatasetIndex, batch_size: int) -> tuple[int, ...]:
    """The classes of a prepared index, ascending: those that `prepare` has noted, or the counts there are.

    Raises:
        DataError: train or val is empty, a photo has no count or one outside the classes, a class has no
            train photo, there is one class only, or a batch is larger than the train photos.
    """
    for split in ("train", "val"):
        if not index.split(split):
            raise DataError(
                f"the index has no {split} photos; training needs train and val: prepare it again"
            )
    photos = [photo for split in ("train", "val") for photo in index.split(split)]
    noted: Sequence[int] = index.metadata.get("classes") or ()
    classes = tuple(sorted(noted or {photo.quantity for photo in photos if photo.quantity is not None}))
    outside = [photo for photo in photos if photo.quantity not in classes]
    if outside:
        raise DataError(
            f"{len(outside)} of {len(photos)} photos have a count outside the classes"
            f" {', '.join(map(str, classes))}: {outside[0].name} has {outside[0].quantity}; prepare the index"
            " again, with the classes that are wanted"
        )
    counts = Counter(photo.quantity for photo in index.split("train"))
    empty = [count for count in classes if not counts[count]]
    if empty or len(classes) < 2:
        found = (
            f"no train photo has the count {empty[0]}" if empty else f"all photos have the count {classes[0]}"
        )
        raise DataError(f"{found}; a counter needs photos of two classes or more: prepare other classes")
    if batch_size > counts.total():
        raise DataError(
            f"batch_size is {batch_size}, but the index has {counts.total()} train photos; lower it"
        )
    return classes


def check_machine(settings: BinTrainSettings) -> None:
    """Raise SettingsError where this machine has not the devices, or the precision, that are asked for."""
    check_devices(settings.device)
    if settings.amp:
        check_amp(settings.amp, settings.devices[0])


def check_room(index: DatasetIndex, root: Path, cache_dir: Path) -> None:
    """Raise StoreError unless the disks have room for the photos and the checkpoints of the run."""
    photos = [photo for split in ("train", "val") for photo in index.split(split)]
    missing = sum(photo.length for photo in photos if not (cache_dir / photo.sha256).is_file())
    advice = "choose other places: STOCKTAKE_CACHE for photos, project otherwise"
    require_room(cache_dir, missing, advice)
    require_room(root, COPIES * WEIGHTS_BYTES, advice)

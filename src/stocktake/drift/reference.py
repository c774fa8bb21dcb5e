"""What a model's photos and answers looked like when it was made, kept in its card to compare with later."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.drift.histograms import Histogram
from stocktake.drift.measures import Measures, measure_photo
from stocktake.model_card import ModelCard, write_sums
from stocktake.photo_pass import each_photo

Answer = Callable[[bytes], Measures]  # what a model's answer to a photo amounts to


def set_reference(
    model_dir: Path,
    index: DatasetIndex,
    photos: Sequence[Photo],
    answer: Answer,
    workers: int | None = None,
    progress: bool = True,
) -> str:
    """Write the histograms of photos, and of a model's answers to them, to its card.

    Args:
        photos: of the index, at least one, that the model was not trained on: it is surer of those.
        answer: the model as it is served.

    Returns:
        The new digest of the model dir.

    Raises:
        StoreError, UnsupportedImage: a photo cannot be read.
        ModelError: the model dir has no card.
    """

    def look(photo: Photo) -> Measures:
        data = read_photo_bytes(index, photo)
        return {**measure_photo(data), **answer(data)}

    values: dict[str, list[float]] = defaultdict(list)
    for measures in each_photo(look, photos, workers, progress, "measure photos"):
        for name, value in measures.items():
            values[name].append(value)
    reference = {name: Histogram.of(found) for name, found in values.items()}
    ModelCard.read(model_dir).model_copy(update={"reference": reference}).write(model_dir)
    return write_sums(model_dir)

"""Model dirs, photos and figures for tests of the registry, which looks at none of them closely."""

from pathlib import Path

import numpy as np

from stocktake.dataset import DatasetIndex, Photo
from stocktake.model_card import ModelCard, write_sums

CARD = ModelCard(
    task="shelf-detector",
    name="shelf-detector",
    classes=["product"],
    input_size=320,
    licence="AGPL-3.0",
    data_licence="CC0-1.0",
    dataset="drawn",
    dataset_digest="d" * 64,
    stocktake_version="0.1.0",
)


def write_model(folder: Path, weights: str) -> Path:
    """A model dir whose digest follows from `weights`."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(weights.encode())
    CARD.write(folder)
    write_sums(folder)
    return folder


def index_of(*names: str) -> DatasetIndex:
    """One test photo for each name, and a training photo that no evaluation has seen."""
    photos = [
        Photo(name, name, 1, "0" * 64, 10, 10, split, name, np.zeros((1, 4), np.float32))
        for name, split in [*((name, "test") for name in names), (f"train for {names}", "train")]
    ]
    return DatasetIndex(photos, "/photos", {"name": "drawn"})


def figures(ap: float, f1: float, heuristic: float = 0.3) -> dict[str, float]:
    """What an evaluation finds, as far as the gate looks at it."""
    return {
        "detector/ap50": ap,
        "constant/detector/ap50": 0.01,
        "voids/f1_iou30": f1,
        "sliding_box/voids/f1_iou30": heuristic,
    }

"""For tests of a ResNet50 that learns from a handful of squares of 32 px: photos, settings, weights."""

from pathlib import Path

import torch

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.monitoring.monitor import MonitorSettings
from tests.tiny_counter import write_bins

SETTINGS = BinTrainSettings(weights="none", img=32, epochs=2, batch_size=4, device="cpu", warmup=0.5)
UNWATCHED = MonitorSettings(sample_hz=0, trace_steps=0)  # rules without samples and profiler
PHOTOS = [(1.0, 1), (4.0, 4), (1.2, 1), (3.8, 4), (2.5, 2), (2.3, 2), (1.1, 1), (4.1, 4), (2.4, 2), (0.9, 1)]


def write_index(folder: Path) -> Path:
    """The prepared index of ten train and three val photos."""
    seen = {"train": PHOTOS, "val": [(1.0, 1), (2.5, 2), (4.0, 4)]}
    return write_bins(folder, seen, licence="drawn", classes=[1, 2, 4])


def last_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(run_dir / "weights/last.pt")["state"]
    return content


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = last_weights(one), last_weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []

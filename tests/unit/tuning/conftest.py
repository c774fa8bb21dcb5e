from pathlib import Path

import numpy as np
import pytest
import yaml

from stocktake.dataset import DatasetIndex, Photo
from stocktake.files import sha256_file
from stocktake.images import encode_jpeg

SIDE = 48  # px
COUNTS = (1, 2)


@pytest.fixture(scope="session")
def bins_index(tmp_path_factory) -> Path:
    """A prepared index of 32 train and 8 val photos with one or two bright squares on grey."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    photos = []
    for number in range(40):
        count = COUNTS[number % 2]
        image = rng.integers(60, 90, (SIDE, SIDE, 3), dtype=np.uint8)
        for place in range(count):
            left = 4 + 22 * place
            image[14:32, left : left + 16] = 230
        path = folder / f"{number}.jpg"
        path.write_bytes(encode_jpeg(image))
        photos.append(
            Photo(
                name=path.name,
                uri=str(path),
                length=path.stat().st_size,
                sha256=sha256_file(path),
                width=SIDE,
                height=SIDE,
                split="train" if number < 32 else "val",
                group=str(number),
                boxes=np.zeros((0, 4), np.float32),
                quantity=count,
            )
        )
    path = folder / "index.parquet"
    DatasetIndex(photos, str(folder), {"name": "squares", "classes": list(COUNTS)}).write(path)
    return path


@pytest.fixture
def write_space(tmp_path):
    """Write a search space of small trainings; keywords replace its sections."""

    def write(**sections) -> Path:
        content = {
            "metric": "val/loss",
            "goal": "minimize",
            "parameters": {"lr": {"low": 0.001, "high": 0.01, "log": True}},
            "fixed": {"weights": "none", "img": 32, "epochs": 2, "batch_size": 16, "test_batch_size": 8},
            "pruning": {"startup_trials": 1, "warmup_epochs": 0},
        }
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({**content, **sections}))
        return path

    return write

from pathlib import Path

import pytest

from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset


@pytest.fixture(scope="session")
def drawn_photos(tmp_path_factory) -> Path:
    """Eight small drawn photos in SKU-110K's layout."""
    settings = DrawSettings(width=480, height=640)
    return write_dataset(
        tmp_path_factory.mktemp("drawn") / "photos", {"train": 4, "val": 2, "test": 2}, settings
    )

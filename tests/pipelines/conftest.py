from pathlib import Path

import pytest

from stocktake.synthetic import bins
from stocktake.synthetic.bin_settings import BinDrawSettings
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset


@pytest.fixture(scope="session")
def drawn_photos(tmp_path_factory) -> Path:
    """Eight small drawn photos in SKU-110K's layout."""
    settings = DrawSettings(width=480, height=640)
    return write_dataset(
        tmp_path_factory.mktemp("drawn") / "photos", {"train": 4, "val": 2, "test": 2}, settings
    )


@pytest.fixture(scope="session")
def drawn_bins(tmp_path_factory) -> Path:
    """Forty small drawn photos in ABID's layout."""
    settings = BinDrawSettings.preset("easy", width=(160, 200), again=0.0)
    return bins.write_dataset(tmp_path_factory.mktemp("drawn") / "bins", 40, settings, workers=1)

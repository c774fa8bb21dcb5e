"""What a training refuses before any work: nothing is written, nothing is fetched, no hour is lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, SettingsError, StoreError
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import train
from tests.small_training import SETTINGS

pytestmark = pytest.mark.usefixtures("photo_cache")


class TestBeforeAnyWork:
    """Nothing is written, nothing is fetched, no hour is lost."""

    def refuse(
        self, error: type[Exception], named: str, index: Path, tmp_path: Path, settings: TrainSettings
    ) -> None:
        with pytest.raises(error, match=named):
            train(index, tmp_path / "model", settings, tmp_path / "runs")
        assert not (tmp_path / "model").exists()
        assert not (tmp_path / "runs").exists()

    def changed(self, drawn_index: Path, tmp_path: Path, **changes: Any) -> Path:
        index = DatasetIndex.read(drawn_index)
        index.photos = [replace(photo, **changes) for photo in index.photos]
        index.write(tmp_path / "changed.parquet")
        return tmp_path / "changed.parquet"

    def test_no_index(self, tmp_path: Path) -> None:
        self.refuse(DataError, "no such index", tmp_path / "none.parquet", tmp_path, SETTINGS)

    def test_no_val_photos(self, drawn_index: Path, tmp_path: Path) -> None:
        index = self.changed(drawn_index, tmp_path, split="train")
        self.refuse(DataError, "0 val photos", index, tmp_path, SETTINGS)

    def test_no_products(self, drawn_index: Path, tmp_path: Path) -> None:
        index = self.changed(drawn_index, tmp_path, boxes=np.zeros((0, 4), np.float32))
        self.refuse(DataError, "8 train photos with 0 products", index, tmp_path, SETTINGS)

    def test_a_disk_that_is_too_small(self, drawn_index: Path, tmp_path: Path) -> None:
        index = self.changed(drawn_index, tmp_path, length=10**15, sha256="0" * 64)
        self.refuse(StoreError, "STOCKTAKE_CACHE", index, tmp_path, SETTINGS)

    def test_a_disk_that_is_too_small_for_decoded_photos(self, drawn_index: Path, tmp_path: Path) -> None:
        index = self.changed(drawn_index, tmp_path, width=10**7, height=10**7)
        self.refuse(StoreError, "GB", index, tmp_path, replace(SETTINGS, cache="disk"))

    def test_unknown_weights(self, drawn_index: Path, tmp_path: Path) -> None:
        self.refuse(
            SettingsError, "weights is", drawn_index, tmp_path, replace(SETTINGS, weights="best.pt", model="")
        )

    def test_unknown_hyp(self, drawn_index: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "hyp is", drawn_index, tmp_path, replace(SETTINGS, hyp="lowest"))

    def test_a_gpu_that_is_not_there(self, drawn_index: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "usable GPUs", drawn_index, tmp_path, replace(SETTINGS, device="63"))

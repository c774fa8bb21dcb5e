from pathlib import Path

import pytest

from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError
from stocktake.model_card import ModelCard, verify_sums
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.thresholds import Thresholds, choose_thresholds, write_thresholds
from tests.cell_photos import shelf_photos, write_index
from tests.tiny_model import write_model_dir


def test_thresholds_are_chosen_on_validation_photos(tmp_path: Path):
    """Unsure products score (200 - 128) / 127 = .57: .9 loses them, the chosen threshold does not."""
    model = write_model_dir(tmp_path / "model", score_threshold=0.9, void_score_threshold=0.9)
    index = DatasetIndex.read(write_index(tmp_path, shelf_photos(tmp_path, "val", 20)))
    chosen = choose_thresholds(model, index, progress=False)
    assert chosen.score_threshold <= 0.56
    assert chosen.void_score_threshold <= 0.5
    assert (chosen.product_f1, chosen.photos, chosen.known_voids) == (1.0, 20, 30)
    assert chosen.void_f1 == pytest.approx(1.0)

    before = verify_sums(model)
    assert write_thresholds(model, chosen) == verify_sums(model) != before
    card = ModelCard.read(model)
    assert card.score_threshold == chosen.score_threshold
    assert card.void_settings["min_confidence"] == chosen.min_confidence
    voids = [
        len(ShelfDetector.load(model).detect((tmp_path / p.name).read_bytes()).voids) for p in index.photos
    ]
    assert voids == [len(photo.voids) for photo in index.photos]


def test_too_few_known_voids_leave_their_thresholds_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    model = write_model_dir(
        tmp_path / "model", void_score_threshold=0.35, void_settings={"min_confidence": 0.4}
    )
    index = DatasetIndex.read(write_index(tmp_path, shelf_photos(tmp_path, "val", 3)))
    chosen = choose_thresholds(model, index, progress=False)
    assert chosen == Thresholds(
        chosen.score_threshold, 0.35, 0.4, product_f1=1.0, void_f1=None, photos=3, known_voids=4
    )
    assert "4 voids are known in split val" in caplog.text


def test_thresholds_need_validation_photos(tmp_path: Path):
    index = DatasetIndex.read(write_index(tmp_path, shelf_photos(tmp_path, "test", 1)))
    with pytest.raises(DataError, match="no photo in split val"):
        choose_thresholds(write_model_dir(tmp_path / "model"), index)

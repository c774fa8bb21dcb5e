"""From drawn photos in ABID's layout to a scored model that can be served, and again after it was stopped."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stocktake.bins.counter import BinCounter
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.workflow import BinData, train_from
from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.model_card import verify_sums
from stocktake.synthetic.bins import write_dataset

CLASSES = (1, 2, 3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("drawn"), 90, seed=1, progress=False)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return BinTrainSettings(
        weights="none",
        img=32,
        epochs=1,
        batch_size=8,
        device="cpu",
        project=str(tmp_path_factory.mktemp("project")),
    )


@pytest.fixture(scope="module")
def result(photos, settings, empty_database, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tracked")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}")
        patch.setenv("STOCKTAKE_CACHE", str(folder / "cache"))
        yield train_from(BinData(str(photos), CLASSES), settings)


def test_every_step_leaves_its_work(result):
    for path in ("ingest/index.parquet", "prepared/index.parquet", "evaluation/report.html", "settings.json"):
        assert (result.folder / path).is_file()
    assert result.training.model_dir == result.folder / "model"
    assert result.training.epochs == 1
    verify_sums(result.folder / "model")


def test_the_model_counts_the_classes_and_is_scored_on_test(result):
    index = DatasetIndex.read(result.folder / "prepared" / "index.parquet")
    counter = BinCounter.load(result.folder / "model")
    assert counter.classes == CLASSES
    assert counter.card.dataset_digest == index.digest
    assert result.evaluation.facts["Split"] == "test"
    assert result.evaluation.metrics["data/photos"] == len(index.split("test"))
    stored = json.loads((result.folder / "evaluation" / "metrics.json").read_text())
    assert stored["count/accuracy"] == result.evaluation.metrics["count/accuracy"]


def test_another_training_is_not_replaced(result, photos, settings):
    with pytest.raises(SettingsError, match=r"classes was \[1, 2, 3\], now \[1, 2\].*take another --name"):
        train_from(BinData(str(photos), (1, 2)), settings)
    with pytest.raises(SettingsError, match=r"epochs was 1, now 2"):
        train_from(BinData(str(photos), CLASSES), replace(settings, epochs=2))


def test_an_index_keeps_the_classes_that_it_was_prepared_for(result, settings):
    prepared = str(result.folder / "prepared" / "index.parquet")
    with pytest.raises(
        SettingsError, match=r"classes is \[1, 2\], but .*index.parquet was prepared for \[1, 2, 3\]"
    ):
        train_from(BinData(prepared, (1, 2)), replace(settings, name="wrong"))
    assert not (Path(settings.project) / "wrong").exists()


@pytest.mark.parametrize(
    ("data", "changes", "error_rate", "message"),
    [
        (BinData("prepared.parquet", quota=5), {}, 0.05, "quota is 5, which cannot be applied to prepared"),
        (BinData("photos", (1,)), {}, 0.05, "classes is"),
        (BinData("photos"), {"weights": "nowhere.pt"}, 0.05, "weights is 'nowhere.pt'"),
        (BinData("photos"), {"device": "7"}, 0.05, "device"),
        (BinData("photos"), {}, 0.0, "error_rate is 0.0"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(settings, data, changes, error_rate, message):
    wrong = replace(settings, name="wrong", **changes)
    with pytest.raises(SettingsError, match=message):
        train_from(data, wrong, error_rate)
    assert not (Path(settings.project) / "wrong").exists()

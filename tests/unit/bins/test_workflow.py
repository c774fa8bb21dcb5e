"""From drawn photos in ABID's layout to a scored model that can be served, and again after it was stopped."""

import io
import json
import shutil
import socket
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from stocktake.bins.counter import BinCounter
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.workflow import BinData, train_from
from stocktake.cli import main
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError, SettingsError
from stocktake.evaluation_files import read_evaluation
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
def trained(photos, settings, empty_database, tmp_path_factory):
    """The folder of the run, and what the command said."""
    command = ["bins", "train", "--data", str(photos), "--classes", *map(str, CLASSES), "--weights", "none"]
    flags = ["--img", "32", "--epochs", "1", "--batch-size", "8", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        folder = tmp_path_factory.mktemp("tracked")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}")
        patch.setenv("STOCKTAKE_CACHE", str(folder / "cache"))
        assert main([*command, *flags, "--project", settings.project]) == 0
    return Path(settings.project) / settings.name, said.getvalue()


def test_every_step_leaves_its_work(trained):
    folder, said = trained
    for path in ("ingest/index.parquet", "prepared/index.parquet", "evaluation/report.html", "settings.json"):
        assert (folder / path).is_file()
    verify_sums(folder / "model")
    assert "trained 1 epochs from ResNet50 from scratch" in said
    assert " epoch=1 " in said
    assert "VanishingGradient: " in said
    assert json.loads((folder / "train/rules/rules.json").read_text())


def test_the_model_counts_the_classes_and_is_scored_on_test(trained):
    folder, _ = trained
    index = DatasetIndex.read(folder / "prepared" / "index.parquet")
    counter = BinCounter.load(folder / "model")
    assert counter.classes == CLASSES
    assert (counter.card.task, counter.card.dataset_digest) == ("bin-counter", index.digest)
    metrics, facts = read_evaluation(folder / "evaluation", "test")
    assert facts["Split"] == "test"
    assert metrics["data/photos"] == len(index.split("test"))
    assert 0 <= metrics["count/accuracy"] <= 1


def test_another_training_is_not_replaced(trained, photos, settings):
    with pytest.raises(SettingsError, match=r"classes was \[1, 2, 3\], now \[1, 2\].*take another --name"):
        train_from(BinData(str(photos), (1, 2)), settings)
    with pytest.raises(SettingsError, match=r"epochs was 1, now 2"):
        train_from(BinData(str(photos), CLASSES), replace(settings, epochs=2))


def test_an_index_keeps_the_classes_that_it_was_prepared_for(trained, settings):
    prepared = str(trained[0] / "prepared" / "index.parquet")
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


def test_weights_that_cannot_be_downloaded_end_it_before_the_ingest(settings, photos, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"downloaded from https://.*no route to host.*--weights none"):
        train_from(BinData(str(photos), CLASSES), replace(settings, name="wrong", weights="imagenet"))
    assert not (Path(settings.project) / "wrong").exists()

"""`stocktake shelf train` on photos that nobody has ingested yet: what the training image runs."""

import json
from pathlib import Path

import pytest

from stocktake.cli import main
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, SettingsError
from stocktake.model_card import ModelCard, verify_sums
from stocktake.shelf.label_prep import prepare
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.workflow import train_from
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset

FLAGS = [
    "--weights",
    "scratch",
    "--model",
    "n",
    "--img",
    "96",
    "--batch",
    "4",
    "--epochs",
    "1",
    "--hyp",
    "quick",
]


@pytest.fixture
def photos(tmp_path):
    drawing = DrawSettings(width=256, height=256, tiers=(2, 3), bays=(1, 1), voids=(0, 1), landscape=0)
    counts = {"train": 6, "val": 3, "test": 3}
    return write_dataset(tmp_path / "photos", counts, drawing, workers=1, progress=False)


@pytest.fixture(autouse=True)
def _own_places(tmp_path, tracked, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))


@pytest.mark.long
def test_from_a_folder_to_a_champion(photos, tmp_path, capsys):
    run = tmp_path / "runs" / "first"
    command = ["shelf", "train", "--data", str(photos), *FLAGS, "--cache", "--device", "cpu"]

    assert main([*command, "--project", str(run.parent), "--name", run.name]) == 0

    assert "trained 1 epochs from YOLOv5n from scratch" in capsys.readouterr().out
    verify_sums(run / "model")
    index = DatasetIndex.read(run / "prepared" / "index.parquet")
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert metrics["data/photos"] == len(index.split("test")) == 3
    assert {"detector/ap50", "voids_true_boxes/f1_iou30"} <= metrics.keys()

    register = ["shelf", "register", str(run / "model"), str(run / "prepared" / "index.parquet")]
    assert main([*register, str(run / "evaluation")]) == 0
    assert "version 1" in capsys.readouterr().out


def test_an_index_that_is_prepared_is_trained_on_as_it_is(photos, tmp_path):
    ingest(str(photos), tmp_path / "ingested", progress=False)
    prepare(tmp_path / "ingested" / "index.parquet", tmp_path / "prepared")
    index = tmp_path / "prepared" / "index.parquet"
    settings = TrainSettings(
        weights="scratch", model="n", img=32, batch=6, epochs=1, hyp="quick", device="cpu", workers=0,
        project=str(tmp_path / "runs"),
    )  # fmt: skip

    result = train_from(str(index), settings, score=False)

    assert not (result.folder / "prepared").exists()
    digest = DatasetIndex.read(index).digest
    assert ModelCard.read(result.training.model_dir).dataset_digest == digest


TRACES = ["train/weights/last.pt", "model/weights.pt"]  # of a training that has come so far


def leave_note(tmp_path, note, trace=None):
    folder = tmp_path / "runs" / "taken"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(note)
    if trace:
        (folder / trace).parent.mkdir(parents=True)
        (folder / trace).touch()
    return TrainSettings(weights="scratch", epochs=1, img=96, project=str(folder.parent), name="taken")


@pytest.mark.parametrize("trace", TRACES)
def test_a_folder_of_another_training_is_left_alone(photos, tmp_path, trace):
    settings = leave_note(tmp_path, json.dumps({"epochs": 9}), trace)

    with pytest.raises(SettingsError, match=r"epochs was 9, now 1.*another --name"):
        train_from(str(photos), settings)

    assert sorted(path.name for path in Path(settings.project, "taken").iterdir()) == sorted(
        ["settings.json", trace.split("/")[0]]
    )


@pytest.mark.parametrize("note", ["", "{", "[]", '{"epochs": 9}'])
def test_a_run_that_trained_nothing_does_not_keep_its_name(tmp_path, note):
    settings = leave_note(tmp_path, note)
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="empty; expected the folders"):  # the ingest's own
        train_from(str(tmp_path / "empty"), settings)

    assert json.loads(Path(settings.project, "taken", "settings.json").read_text())["epochs"] == 1


@pytest.mark.parametrize("note", ["", "{", "[]"])
def test_a_broken_note_beside_a_model_is_named(photos, tmp_path, note):
    settings = leave_note(tmp_path, note, TRACES[0])

    with pytest.raises(SettingsError, match=r"settings\.json: .*another --name"):
        train_from(str(photos), settings)


@pytest.mark.parametrize("data", ["data.yaml", "data.yml", "prepared/index.parquet"])
@pytest.mark.parametrize("choice", [{"exclude": "strict"}, {"exclude": "none"}, {"limit": 5}])
def test_a_choice_of_photos_that_nothing_would_heed_is_refused(data, choice, tmp_path):
    settings = TrainSettings(weights="scratch", epochs=1, img=96, project=str(tmp_path / "runs"))
    (name,) = choice

    with pytest.raises(SettingsError, match=rf"{name} is .*cannot be applied to .*{data}"):
        train_from(str(tmp_path / data), settings, **choice)

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "yolov8n.pt"}, "weights is 'yolov8n.pt'"),
        ({"weights": "starter", "model": "x"}, "name only one"),
        ({"hyp": "lots"}, "hyp is 'lots'"),
        ({"device": "63"}, "this machine has"),
    ],
)
def test_an_impossible_setting_is_refused_before_any_work(photos, tmp_path, changes, message):
    settings = TrainSettings(**changes, project=str(tmp_path / "runs"))

    with pytest.raises(SettingsError, match=message):
        train_from(str(photos), settings)

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("data", ["nowhere", "nowhere/data.yaml", "nowhere/index.parquet", "ftp://host/x"])
def test_photos_that_are_not_there_are_refused_before_any_work(tmp_path, data):
    settings = TrainSettings(weights="scratch", project=str(tmp_path / "runs"))

    with pytest.raises(DataError, match=data):
        train_from(data, settings)

    assert not (tmp_path / "runs").exists()

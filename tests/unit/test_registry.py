import logging
from dataclasses import replace

import mlflow
import numpy as np
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import DataError, ModelError, SettingsError, StoreError
from stocktake.model_card import ModelCard, write_sums
from stocktake.registry import champion, fetch_champion, fetch_model, gate, register, resolve

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


@pytest.fixture
def make_model(tmp_path):
    def make(weights):
        folder = tmp_path / f"model-{weights}"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(weights.encode())
        CARD.write(folder)
        write_sums(folder)
        return folder

    return make


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def index_of(*names):
    """One test photo for each name, and a training photo that no evaluation has seen."""
    photos = [
        Photo(name, name, 1, "0" * 64, 10, 10, split, name, np.zeros((1, 4), np.float32))
        for name, split in [*((name, "test") for name in names), (f"train for {names}", "train")]
    ]
    return DatasetIndex(photos, "/photos", {"name": "drawn"})


TEST = index_of("a.jpg", "b.jpg")


def figures(ap, f1, heuristic=0.3):
    return {
        "detector/ap50": ap,
        "constant/detector/ap50": 0.01,
        "voids/f1_iou30": f1,
        "sliding_box/voids/f1_iou30": heuristic,
    }


def test_registered_model_is_found_and_fetched(tracked, make_model, store, tmp_path):
    model = make_model("a")
    (model / "notes.txt").write_text("not in the checksums")
    version = register(model, TEST, figures(0.8, 0.7), store)
    assert version == resolve("models:/shelf-detector@challenger") == resolve("models:/shelf-detector/1")
    assert version.model_uri == f"{store}/models/shelf-detector/{version.digest}"
    assert fetch_model("models:/shelf-detector@challenger", tmp_path / "got") == version.digest
    names = ["SHA256SUMS", "model.onnx", "model_card.json"]
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == names
    assert (tmp_path / "got" / "model.onnx").read_bytes() == b"a"
    assert fetch_model(version.model_uri, tmp_path / "again") == version.digest


def test_the_champion_is_fetched_where_there_is_one(tracked, make_model, store, tmp_path):
    assert fetch_champion("shelf-detector", tmp_path / "got") is None
    register(make_model("a"), TEST, figures(0.8, 0.7), store)
    gate(TEST)
    assert fetch_champion("shelf-detector", tmp_path / "got") == tmp_path / "got"
    assert (tmp_path / "got" / "model.onnx").read_bytes() == b"a"


def test_weights_are_uploaded_once_and_not_into_mlflow(tracked, make_model, store):
    version = register(make_model("a"), TEST, figures(0.8, 0.7), store)
    client = mlflow.MlflowClient()
    files = client.list_logged_model_artifacts(version.model_id)
    assert sorted(file.path for file in files) == ["SHA256SUMS", "model_card.json"]
    model = client.get_logged_model(version.model_id)
    assert (model.status, model.tags["digest"]) == ("READY", version.digest)
    assert {metric.dataset_digest for metric in model.metrics} == {tracking.dataset_digest(_test_only(TEST))}
    assert client.get_model_version("shelf-detector", "1").tags["dataset_digest"] == "d" * 64


def _test_only(index):
    return DatasetIndex(index.split("test"), index.store)


def test_the_same_files_are_the_same_version(tracked, make_model, store, tmp_path):
    model = make_model("a")
    first = register(model, TEST, figures(0.8, 0.7), store)
    second = register(model, TEST, figures(0.8, 0.7), str(tmp_path / "elsewhere"))
    other = register(make_model("b"), TEST, figures(0.8, 0.7), store)
    assert (first.version, second.version, other.version) == (1, 1, 2)
    assert second.model_uri.startswith(str(tmp_path / "elsewhere"))
    assert resolve("models:/shelf-detector/1") == second


def test_registration_belongs_to_the_open_run(tracked, make_model, store):
    with tracking.start_run("pipeline") as run_id:
        register(make_model("a"), TEST, figures(0.8, 0.7), store)
    run = mlflow.MlflowClient().get_run(run_id)
    assert run.data.metrics["voids/f1_iou30"] == 0.7
    assert run.inputs.dataset_inputs[0].dataset.name == "drawn:test"
    assert mlflow.MlflowClient().get_model_version("shelf-detector", "1").run_id == run_id


def test_first_model_that_beats_the_baseline_becomes_champion(tracked, make_model, store):
    version = register(make_model("a"), TEST, figures(0.8, 0.7), store)
    decision = gate(TEST)
    assert decision.promoted
    assert champion() == version
    assert decision.reason.startswith("version 1 promoted against the baseline on 2 photos of drawn:test: ")
    assert "voids/f1_iou30 0.7000 against 0.3000" in decision.reason
    tags = mlflow.MlflowClient().get_model_version("shelf-detector", "1").tags
    assert (tags["gate"], tags["gate.reason"]) == ("promoted", decision.reason)
    page = decision.markdown()
    assert page.startswith("# shelf-detector: promoted\n")
    assert decision.reason in page
    assert "| voids/f1_iou30 | 0.700 | 0.300 |" in page
    assert gate(TEST).promoted  # a step that is retried decides the same


def test_first_model_that_does_not_beat_the_baseline_is_refused(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.8, 0.25), store)
    decision = gate(TEST)
    assert not decision.promoted
    assert "no better than the baseline: voids/f1_iou30 0.2500 against 0.3000" in decision.reason
    with pytest.raises(
        ModelError, match=r"champion: there is no such version; shelf-detector has the versions 1"
    ):
        champion()


def test_champion_stays_until_it_is_beaten(tracked, make_model, store):
    first = register(make_model("a"), TEST, figures(0.8, 0.7), store)
    gate(TEST)
    register(make_model("b"), TEST, figures(0.9, 0.6), store)
    refused = gate(TEST)
    assert (refused.promoted, refused.champion, champion()) == (False, first, first)
    assert "version 2 not promoted against version 1" in refused.reason
    third = register(make_model("c"), TEST, figures(0.8, 0.71), store)
    assert gate(TEST).promoted
    assert champion() == third


def test_figures_from_other_photos_are_not_compared(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.95, 0.95), store)
    gate(TEST)
    harder = index_of("a.jpg", "c.jpg")
    challenger = register(make_model("b"), harder, figures(0.7, 0.7), store)
    with pytest.raises(ModelError, match=r"shelf-detector/1 has no figures of drawn:test .*evaluate it"):
        gate(harder)
    measured = []

    def evaluate(model_dir):
        measured.append((model_dir / "model.onnx").read_bytes())
        return figures(0.6, 0.6)

    with tracking.start_run("promote") as run_id:
        decision = gate(harder, evaluate=evaluate)
    assert decision.promoted
    assert "detector/ap50" not in mlflow.MlflowClient().get_run(run_id).data.metrics  # those of the champion
    assert champion() == challenger
    assert measured == [b"a"]
    assert "0.7000 against 0.6000" in decision.reason


def test_figures_that_other_code_made_are_measured_again(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.95, 0.95), store)
    gate(TEST)
    register(make_model("b"), TEST, figures(0.7, 0.7), store, code="0.0.1-older")
    with pytest.raises(ModelError, match=r"shelf-detector/2 has no figures .* that this code made; evaluate"):
        gate(TEST)
    measured = []

    def evaluate(model_dir):
        measured.append((model_dir / "model.onnx").read_bytes())
        return figures(0.97, 0.97)

    assert gate(TEST, evaluate=evaluate).promoted
    assert measured == [b"b"]
    register(make_model("c"), TEST, figures(0.98, 0.98), store)
    assert gate(TEST, evaluate=evaluate).promoted
    assert measured == [b"b"]  # its new figures are this code's


def test_more_training_photos_do_not_make_other_test_photos(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.8, 0.7), store)
    extra = Photo("new.jpg", "new.jpg", 1, "1" * 64, 10, 10, "train", "n", np.zeros((0, 4), np.float32))
    grown = DatasetIndex([*TEST.photos, extra], TEST.store, TEST.metadata)
    assert gate(grown).promoted


def test_holdout_voids_stand_in_where_no_voids_are_known(tracked, make_model, store):
    real = {
        "detector/ap50": 0.5,
        "constant/detector/ap50": 0.01,
        "voids_holdout/f1_iou30": 0.8,
        "sliding_box/voids_holdout/f1_iou30": 0.45,
    }
    register(make_model("a"), TEST, real, store)
    assert "voids_holdout/f1_iou30 0.8000 against 0.4500" in gate(TEST).reason


def test_figures_that_are_no_numbers_are_said_and_not_taken_for_zero(tracked, make_model, store, caplog):
    with caplog.at_level(logging.WARNING, "stocktake"):
        register(make_model("a"), TEST, figures(float("nan"), 0.7), store)
    assert "not finite: detector/ap50" in caplog.text
    with pytest.raises(ModelError, match="no metric 'detector/ap50'"):
        gate(TEST)


@pytest.mark.parametrize("split", ["train", "val"])
def test_photos_that_a_model_was_fitted_on_promote_nothing(tracked, make_model, store, split):
    index = DatasetIndex([replace(TEST.photos[0], split=split)], "/photos", {"name": "drawn"})
    register(make_model("a"), index, figures(0.9, 0.9), store, split=split)
    decision = gate(index, split=split)
    assert not decision.promoted
    assert f"version 1 not promoted: it was scored on {split} photos" in decision.reason
    assert fetch_champion("shelf-detector", None) is None
    tags = mlflow.MlflowClient().get_model_version("shelf-detector", "1").tags
    assert (tags["gate"], tags["gate.reason"]) == ("refused", decision.reason)
    assert decision.reason in decision.markdown()


def test_the_last_evaluation_counts(tracked, make_model, store):
    model = make_model("a")
    register(model, TEST, figures(0.8, 0.1), store)
    register(model, TEST, figures(0.8, 0.7), store)
    assert "voids/f1_iou30 0.7000" in gate(TEST).reason


@pytest.mark.parametrize("file", ["model.onnx", "model_card.json"])
def test_damaged_models_are_neither_registered_nor_fetched(tracked, make_model, store, tmp_path, file):
    model = make_model("a")
    version = register(model, TEST, figures(0.8, 0.7), store)
    (model / file).write_bytes(b"{}")
    with pytest.raises(ModelError, match=file):
        register(model, TEST, figures(0.8, 0.7), store)
    (tmp_path / "store" / "models" / "shelf-detector" / version.digest / file).write_bytes(b"{}")
    with pytest.raises((ModelError, StoreError), match=file):
        fetch_model(version.uri, tmp_path / "got")


def test_a_damaged_copy_is_fetched_again(tracked, make_model, store, tmp_path):
    register(make_model("a"), TEST, figures(0.8, 0.7), store)
    fetch_model("models:/shelf-detector/1", tmp_path / "got")
    (tmp_path / "got" / "model.onnx").write_bytes(b"rotten")
    fetch_model("models:/shelf-detector/1", tmp_path / "got")
    assert (tmp_path / "got" / "model.onnx").read_bytes() == b"a"


def test_files_of_another_model_under_the_digest_are_refused(tracked, make_model, store, tmp_path):
    version = register(make_model("a"), TEST, figures(0.8, 0.7), store)
    other = make_model("b")
    for path in other.iterdir():
        path.rename(tmp_path / "store" / "models" / "shelf-detector" / version.digest / path.name)
    with pytest.raises(ModelError, match="its files are not those of models:/shelf-detector/1"):
        fetch_model(version.uri, tmp_path / "got")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/shelf-detector", "write models:/name@champion"),
        ("shelf-detector@champion", "write models:/name@champion"),
        ("models:/shelf-detector@champion", "shelf-detector has no version yet"),
        ("models:/shelf-detector/7", "shelf-detector has no version yet"),
    ],
)
def test_what_is_not_there_is_named(tracked, uri, message):
    with pytest.raises(ModelError, match=message):
        resolve(uri)


def test_versions_of_others_are_not_taken_for_ours(tracked):
    client = mlflow.MlflowClient()
    client.create_registered_model("shelf-detector")
    client.create_model_version("shelf-detector", "/somewhere")
    with pytest.raises(ModelError, match="no tag digest, model_id, model_uri"):
        resolve("models:/shelf-detector/1")


def test_bad_arguments_are_refused_before_anything_is_sent(tracked, make_model, store, tmp_path, monkeypatch):
    model = make_model("a")
    with pytest.raises(ModelError, match="'Shelf Detector' can't name a model"):
        register(model, TEST, figures(0.8, 0.7), store, name="Shelf Detector")
    with pytest.raises(DataError, match="unknown split"):
        register(model, TEST, figures(0.8, 0.7), store, split="holdout")
    with pytest.raises(ModelError, match="no photos in its split 'val'"):
        register(model, TEST, figures(0.8, 0.7), store, split="val")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"http://127.0.0.1:9"):
        register(model, TEST, figures(0.8, 0.7), store)
    assert not (tmp_path / "store").exists()
    with pytest.raises(ModelError, match="no model dir"):
        fetch_model(str(tmp_path / "nowhere"), tmp_path / "got")

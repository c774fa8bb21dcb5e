import mlflow
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, ModelError, SettingsError, StoreError
from stocktake.registry import fetch_champion, fetch_model, register, resolve
from stocktake.registry_gate import gate
from tests.registry_data import figures, index_of

TEST = index_of("a.jpg", "b.jpg")


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

import io
import logging
import pickle
import zipfile
from pathlib import Path

import pytest

from stocktake.errors import ModelError, SettingsError
from stocktake.shelf import weights as weights_module
from stocktake.shelf.weights import check_checkpoint, check_weights, resolve_weights


def archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
    return path


@pytest.mark.parametrize("name", ["", "scratch"])
@pytest.mark.parametrize(
    ("size", "network"), [("", "yolov5s.yaml"), ("n", "yolov5n.yaml"), ("x", "yolov5x.yaml")]
)
def test_scratch_has_the_size_asked_for(tmp_path: Path, name: str, size: str, network: str) -> None:
    start = resolve_weights(name, size, tmp_path)
    assert start.model == network
    assert start.checkpoint is None


def test_coco_weights_are_taken_from_the_cache(tmp_path: Path) -> None:
    cached = tmp_path / "weights/yolov5su.pt"
    cached.parent.mkdir()
    archive(cached, b"ultralytics.nn.tasks")
    for name in ("yolov5s.pt", "yolov5su.pt", "yolov5s"):
        assert resolve_weights(name, "", tmp_path).checkpoint == cached


@pytest.mark.parametrize(
    ("size", "hint"), [("n", "--weights starter"), ("m", "a model n could use `starter`")]
)
def test_without_a_hub_it_warns_and_starts_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, size: str, hint: str
) -> None:
    monkeypatch.setattr(weights_module, "COCO_URL", "http://127.0.0.1:9/{name}")  # nobody listens there
    with caplog.at_level(logging.WARNING):
        start = resolve_weights(f"yolov5{size}.pt", "", tmp_path)
    assert start.model == f"yolov5{size}.yaml"
    assert "from scratch" in caplog.text
    assert f"yolov5{size}u.pt" in caplog.text
    assert hint in caplog.text
    assert not list((tmp_path / "weights").glob("*"))


def test_a_classic_checkpoint_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = archive(tmp_path / "old.pt", b"cmodels.yolo\nDetectionModel\n")
    with pytest.raises(ModelError, match=r"classic YOLOv5.*yolov5s\.pt"):
        resolve_weights(str(path), "", tmp_path)


def test_a_name_that_ultralytics_would_take_for_another_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "yolov5s.pt", b"ultralytics.nn.tasks")
    with pytest.raises(ModelError, match="rename"):
        resolve_weights(str(path), "", tmp_path)


class Boom:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("the pickle was run",))


def test_a_foreign_checkpoint_is_refused_without_running_it(tmp_path: Path) -> None:
    path = archive(tmp_path / "evil.pt", pickle.dumps(Boom()))
    with pytest.raises(ModelError, match="no ultralytics detector"):
        check_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.pt"):
        resolve_weights(str(path), "", tmp_path)


@pytest.mark.parametrize("name", ["yolov8n.pt", "nowhere/best.pt", "yolov5q.pt"])
def test_unknown_weights_list_what_there_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"yolov5n\.pt.*starter, scratch"):
        resolve_weights(name, "", tmp_path)


@pytest.mark.parametrize("name", ["yolov5s.pt", "starter"])
def test_a_size_that_contradicts_the_weights_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="name only one"):
        resolve_weights(name, "x", tmp_path)


@pytest.mark.parametrize("name", ["", "scratch", "starter", "yolov5s.pt", "yolov5xu"])
def test_names_are_checked_without_a_network(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(weights_module, "download", lambda *_: pytest.fail("it was downloaded"))
    check_weights(name, "")


def test_zip_without_pickle_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "hello")
    (tmp_path / "zip.pt").write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match="no ultralytics detector"):
        check_checkpoint(tmp_path / "zip.pt")

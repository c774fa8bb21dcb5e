"""Trains for real: YOLOv5n from scratch on a handful of small drawn photos."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError
from stocktake.files import sha256_file
from stocktake.model_card import ModelCard
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.training import TrainResult, train
from tests.small_training import SETTINGS

pytestmark = pytest.mark.usefixtures("photo_cache")


@pytest.fixture(scope="module")
def trained(
    drawn_index: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, list[Any], list[Any]]:
    """One training, with every epoch's metrics and every address that it tried to reach."""
    folder = tmp_path_factory.mktemp("trained")
    epochs: list[Any] = []
    reached: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda _socket, address: reached.append(address))
        patch.setattr(socket, "getaddrinfo", lambda *address, **_: reached.append(address))
        result = train(
            drawn_index,
            folder / "model",
            SETTINGS,
            folder / "runs",
            on_epoch=lambda *told: epochs.append(told),
        )
    return result, epochs, reached


def tree_digest(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TestATraining:
    def test_leaves_a_model_dir_that_detects(self, trained: Any, drawn_index: Path) -> None:
        result, _, _ = trained
        detector = ShelfDetector.load(result.model_dir)
        index = DatasetIndex.read(drawn_index)
        assert detector.card.dataset_digest == index.digest
        assert detector.card.data_licence == index.metadata["licence"]
        assert detector.card.score_threshold == result.score_threshold
        photo = Path(index.store) / index.photos[0].uri
        assert detector.detect(photo.read_bytes()).width == 256

    def test_tells_each_epoch_as_it_happens(self, trained: Any) -> None:
        result, epochs, _ = trained
        assert [epoch for _, epoch in epochs] == [1]
        metrics = epochs[0][0]
        assert {
            "train/box_loss",
            "train/cls_loss",
            "val/box_loss",
            "val/ap50",
            "val/ap",
            "lr",
        } <= metrics.keys()
        assert all(np.isfinite(value) for value in metrics.values())
        assert not any(set(name) & set("()@ ") for name in metrics)  # which MLflow refuses
        assert result.epochs == 1
        assert result.resumed_from == 0

    def test_waits_for_no_network(self, trained: Any) -> None:
        assert trained[2] == []

    def test_leaves_photos_as_they_were_and_no_second_copy(self, trained: Any, drawn_index: Path) -> None:
        result, _, _ = trained
        index = DatasetIndex.read(drawn_index)
        assert not (result.run_dir / "photos").exists()
        for photo in index.photos:
            cached = Path(os.environ["STOCKTAKE_CACHE"]) / photo.sha256
            assert cached.stat().st_nlink == 1
            assert sha256_file(cached) == sha256_file(Path(index.store) / photo.uri) == photo.sha256

    def test_that_had_finished_is_not_done_again(
        self, trained: Any, drawn_index: Path, tmp_path: Path
    ) -> None:
        result, _, _ = trained
        before = tree_digest(result.run_dir)
        epochs: list[Any] = []
        elsewhere = replace(SETTINGS, workers=0, cache="ram")  # how, not what
        again = train(
            drawn_index, tmp_path / "model", elsewhere, result.run_dir.parent, lambda *t: epochs.append(t)
        )
        assert epochs == []
        assert again.metrics == result.metrics
        assert tree_digest(result.run_dir) == before
        assert ModelCard.read(tmp_path / "model").metrics == ModelCard.read(result.model_dir).metrics

    @pytest.mark.long
    def test_again_with_the_same_seed_gives_the_same_weights_and_mlflow_has_its_figures(
        self, trained: Any, drawn_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import mlflow

        result, epochs, _ = trained
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        with tracking.start_run("training", uri=uri) as run_id:
            again = train(drawn_index, tmp_path / "model", SETTINGS, tmp_path / "runs")
        assert (again.model_dir / "weights.pt").read_bytes() == (result.model_dir / "weights.pt").read_bytes()
        client = mlflow.MlflowClient(uri)
        for name, value in epochs[0][0].items():
            (point,) = client.get_metric_history(run_id, name)
            assert point.step == 1
            assert point.value == pytest.approx(value)


@pytest.mark.long
def test_two_ranks_train_one_model(drawn_index: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    settings = replace(SETTINGS, device="cpu,cpu", epochs=2)
    result = train(
        drawn_index, tmp_path / "model", settings, tmp_path / "runs", on_epoch=lambda *t: told.append(t)
    )
    assert [epoch for _, epoch in told] == [1, 2]
    assert result.epochs == 2
    assert ShelfDetector.load(tmp_path / "model").card.metrics == result.metrics
    arguments = json.loads((result.run_dir / "ranks.json").read_text())["arguments"]
    assert arguments["batch"] == 4  # over both


@pytest.fixture(scope="module")
def poisoned(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with one weight that is not a number: every loss of it is lost."""
    import torch

    checkpoint = torch.load(trained[0].weights, weights_only=False)
    next(checkpoint["model"].parameters()).data.view(-1)[0] = float("nan")
    path = tmp_path_factory.mktemp("poisoned") / "nan.pt"
    torch.save(checkpoint, path)
    return str(path)


@pytest.mark.long
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_lost_loss_stops_with_advice(drawn_index: Path, tmp_path: Path, poisoned: str, device: str) -> None:
    bad = replace(SETTINGS, weights=poisoned, model="", epochs=20, batch=2, device=device)
    with pytest.raises(ModelError, match="no longer a number in epoch 1 of 20") as caught:
        train(drawn_index, tmp_path / "model", bad, tmp_path / "runs", on_epoch=lambda *_: None)
    assert "lower lr0" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_mixed_precision_is_for_gpus_and_checked_without_a_download(trained: Any) -> None:
    import torch
    from ultralytics.nn.tasks import load_checkpoint

    from stocktake.shelf.trainer import amp_works, answers_finite, engine

    model, _ = load_checkpoint(str(trained[0].weights))
    assert engine.check_amp is amp_works
    assert not amp_works(model)
    assert answers_finite(model.train(), "cpu")
    assert model.training
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = float("nan")
    assert not answers_finite(model, "cpu")

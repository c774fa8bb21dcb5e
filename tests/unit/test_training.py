"""Trains for real: YOLOv5n from scratch on a handful of small drawn photos."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, ModelError, SettingsError, StoreError
from stocktake.files import sha256_file
from stocktake.model_card import ModelCard
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.run_folder import open_run
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import TrainResult, train, ultralytics_arguments
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset

SETTINGS = TrainSettings(weights="scratch", model="n", epochs=1, img=96, batch=4, hyp="quick", device="cpu")
DEADLINE = 240  # s, for a child process on a busy machine


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    drawing = DrawSettings(width=256, height=256, tiers=(2, 3), bays=(1, 1), voids=(0, 1), landscape=0)
    write_dataset(folder / "photos", {"train": 8, "val": 4}, drawing, workers=1, progress=False)
    ingest(str(folder / "photos"), folder / "index", progress=False)
    return folder / "index/index.parquet"


@pytest.fixture(scope="module", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCKTAKE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trained(
    index_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, list[Any], list[Any]]:
    """One training, with every epoch's metrics and every address that it tried to reach."""
    folder = tmp_path_factory.mktemp("trained")
    epochs: list[Any] = []
    reached: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda _socket, address: reached.append(address))
        patch.setattr(socket, "getaddrinfo", lambda *address, **_: reached.append(address))
        result = train(
            index_path,
            folder / "model",
            SETTINGS,
            folder / "runs",
            on_epoch=lambda *told: epochs.append(told),
        )
    return result, epochs, reached


def tree_digest(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TestATraining:
    def test_leaves_a_model_dir_that_detects(self, trained: Any, index_path: Path) -> None:
        result, _, _ = trained
        detector = ShelfDetector.load(result.model_dir)
        index = DatasetIndex.read(index_path)
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

    def test_leaves_photos_as_they_were_and_no_second_copy(self, trained: Any, index_path: Path) -> None:
        result, _, _ = trained
        index = DatasetIndex.read(index_path)
        assert not (result.run_dir / "photos").exists()
        for photo in index.photos:
            cached = Path(os.environ["STOCKTAKE_CACHE"]) / photo.sha256
            assert cached.stat().st_nlink == 1
            assert sha256_file(cached) == sha256_file(Path(index.store) / photo.uri) == photo.sha256

    def test_that_had_finished_is_not_done_again(
        self, trained: Any, index_path: Path, tmp_path: Path
    ) -> None:
        result, _, _ = trained
        before = tree_digest(result.run_dir)
        epochs: list[Any] = []
        elsewhere = replace(SETTINGS, workers=0, cache="ram")  # how, not what
        again = train(
            index_path, tmp_path / "model", elsewhere, result.run_dir.parent, lambda *t: epochs.append(t)
        )
        assert epochs == []
        assert again.metrics == result.metrics
        assert tree_digest(result.run_dir) == before
        assert ModelCard.read(tmp_path / "model").metrics == ModelCard.read(result.model_dir).metrics

    def test_again_with_the_same_seed_gives_the_same_weights_and_mlflow_has_its_figures(
        self, trained: Any, index_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import mlflow

        result, epochs, _ = trained
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        with tracking.start_run("training", uri=uri) as run_id:
            again = train(index_path, tmp_path / "model", SETTINGS, tmp_path / "runs")
        assert (again.model_dir / "weights.pt").read_bytes() == (result.model_dir / "weights.pt").read_bytes()
        client = mlflow.MlflowClient(uri)
        for name, value in epochs[0][0].items():
            (point,) = client.get_metric_history(run_id, name)
            assert point.step == 1
            assert point.value == pytest.approx(value)


CHILD = """
import json, sys
from pathlib import Path
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import train

index, work, settings = Path(sys.argv[1]), Path(sys.argv[2]), TrainSettings(**json.loads(sys.argv[3]))
def told(metrics, epoch):
    with (work / "epochs").open("a") as file:
        file.write(f"{epoch}\\n")
train(index, work / "model", settings, work / "runs", told)
"""


def start_child(index_path: Path, work: Path, **settings: Any) -> "subprocess.Popen[bytes]":
    work.mkdir(exist_ok=True)
    asked = json.dumps(
        {"weights": "scratch", "model": "n", "img": 96, "batch": 4, "hyp": "quick", **settings}
    )
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(index_path), str(work), asked],
        stdout=subprocess.DEVNULL,
        stderr=(work / "stderr").open("ab"),
        start_new_session=True,
    )


def wait_until(condition: Any, process: "subprocess.Popen[bytes]", work: Path) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, (work / "stderr").read_text()[-3000:]
        assert time.monotonic() < end, "the child took too long"
        time.sleep(0.02)


def epochs_told(work: Path) -> list[int]:
    return [int(line) for line in (work / "epochs").read_text().split()] if (work / "epochs").exists() else []


def test_a_killed_training_continues_and_redoes_no_finished_epoch(index_path: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    process = start_child(index_path, work, epochs=4, device="cpu")
    wait_until(lambda: len(epochs_told(work)) >= 2, process, work)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = epochs_told(work)
    assert before[:2] == [1, 2]
    assert not (work / "model").exists()

    told: list[int] = []
    result = train(
        index_path,
        work / "model",
        replace(SETTINGS, epochs=4),
        work / "runs",
        on_epoch=lambda _, epoch: told.append(epoch),
    )
    assert result.resumed_from >= 2
    assert told == list(range(result.resumed_from + 1, 5))
    assert result.epochs == 4
    rows = (result.run_dir / "results.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows][-1] == 4
    assert ShelfDetector.load(work / "model").card.input_size == 96


def test_two_ranks_train_one_model(index_path: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    settings = replace(SETTINGS, device="cpu,cpu", epochs=2)
    result = train(
        index_path, tmp_path / "model", settings, tmp_path / "runs", on_epoch=lambda *t: told.append(t)
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


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_lost_loss_stops_with_advice(index_path: Path, tmp_path: Path, poisoned: str, device: str) -> None:
    bad = replace(SETTINGS, weights=poisoned, model="", epochs=20, batch=2, device=device)
    with pytest.raises(ModelError, match="no longer a number in epoch 1 of 20") as caught:
        train(index_path, tmp_path / "model", bad, tmp_path / "runs", on_epoch=lambda *_: None)
    assert "lower lr0" in str(caught.value)
    assert not (tmp_path / "model").exists()


class TestBeforeAnyWork:
    """Nothing is written, nothing is fetched, no hour is lost."""

    def refuse(
        self, error: type[Exception], named: str, index: Path, tmp_path: Path, settings: TrainSettings
    ) -> None:
        with pytest.raises(error, match=named):
            train(index, tmp_path / "model", settings, tmp_path / "runs")
        assert not (tmp_path / "model").exists()
        assert not (tmp_path / "runs").exists()

    def changed(self, index_path: Path, tmp_path: Path, **changes: Any) -> Path:
        index = DatasetIndex.read(index_path)
        index.photos = [replace(photo, **changes) for photo in index.photos]
        index.write(tmp_path / "changed.parquet")
        return tmp_path / "changed.parquet"

    def test_no_index(self, tmp_path: Path) -> None:
        self.refuse(DataError, "no such index", tmp_path / "none.parquet", tmp_path, SETTINGS)

    def test_no_val_photos(self, index_path: Path, tmp_path: Path) -> None:
        index = self.changed(index_path, tmp_path, split="train")
        self.refuse(DataError, "0 val photos", index, tmp_path, SETTINGS)

    def test_no_products(self, index_path: Path, tmp_path: Path) -> None:
        index = self.changed(index_path, tmp_path, boxes=np.zeros((0, 4), np.float32))
        self.refuse(DataError, "8 train photos with 0 products", index, tmp_path, SETTINGS)

    def test_a_disk_that_is_too_small(self, index_path: Path, tmp_path: Path) -> None:
        index = self.changed(index_path, tmp_path, length=10**15, sha256="0" * 64)
        self.refuse(StoreError, "STOCKTAKE_CACHE", index, tmp_path, SETTINGS)

    def test_a_disk_that_is_too_small_for_decoded_photos(self, index_path: Path, tmp_path: Path) -> None:
        index = self.changed(index_path, tmp_path, width=10**7, height=10**7)
        self.refuse(StoreError, "GB", index, tmp_path, replace(SETTINGS, cache="disk"))

    def test_unknown_weights(self, index_path: Path, tmp_path: Path) -> None:
        self.refuse(
            SettingsError, "weights is", index_path, tmp_path, replace(SETTINGS, weights="best.pt", model="")
        )

    def test_unknown_hyp(self, index_path: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "hyp is", index_path, tmp_path, replace(SETTINGS, hyp="lowest"))

    def test_a_gpu_that_is_not_there(self, index_path: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "usable GPUs", index_path, tmp_path, replace(SETTINGS, device="63"))


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


class TestRunFolder:
    def test_same_identity_same_folder_another_the_next(self, tmp_path: Path) -> None:
        first = open_run(tmp_path, "exp", {"seed": 0}, resume=True)
        assert first.path == tmp_path / "exp"
        assert open_run(tmp_path, "exp", {"seed": 0}, resume=True) == first
        assert open_run(tmp_path, "exp", {"seed": 1}, resume=True).path == tmp_path / "exp2"
        assert open_run(tmp_path, "exp", {"seed": 1}, resume=True).path == tmp_path / "exp2"
        assert open_run(tmp_path, "exp", {"seed": 0}, resume=False).path == tmp_path / "exp3"

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "exp").mkdir()
        (tmp_path / "exp/notes.txt").write_text("mine")
        assert open_run(tmp_path, "exp", {"seed": 0}, resume=True).path == tmp_path / "exp2"

    def test_a_damaged_checkpoint_is_named(self, tmp_path: Path) -> None:
        run = open_run(tmp_path, "exp", {}, resume=True)
        run.last.parent.mkdir()
        run.last.write_bytes(b"cut off")
        with pytest.raises(ModelError, match=r"last\.pt"):
            run.state()


class TestArguments:
    def test_the_flags_of_yolov5_arrive(self) -> None:
        settings = TrainSettings(
            batch=-1, epochs=3, img=416, cache="ram", freeze=10, hyp="med", seed=7, device="0"
        )
        found = ultralytics_arguments(settings)
        expected = {
            "batch": -1,
            "epochs": 3,
            "imgsz": 416,
            "cache": "ram",
            "freeze": 10,
            "seed": 7,
            "device": "0",
        }
        assert found.items() >= expected.items()
        assert found["scale"] == 0.7
        assert found["amp"] is True
        assert found["deterministic"] is True

    def test_single_values_override_the_file(self) -> None:
        found = ultralytics_arguments(replace(SETTINGS, lr0=0.5, optimizer="AdamW"))
        assert (found["lr0"], found["optimizer"]) == (0.5, "AdamW")

    def test_a_step_per_batch_where_the_file_says_so(self) -> None:
        assert ultralytics_arguments(replace(SETTINGS, batch=4))["nbs"] == 4
        assert "nbs" not in ultralytics_arguments(replace(SETTINGS, hyp="low"))

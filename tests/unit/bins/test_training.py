"""Trains for real: ResNet50 from scratch on a handful of squares of 32 px."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import train
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, ModelError, SettingsError, StoreError
from tests.tiny_counter_training import SETTINGS, assert_same_weights, last_weights

pytestmark = pytest.mark.usefixtures("cached_photos")


class TestATraining:
    def test_leaves_a_model_dir_that_counts(self, trained: Any, index_path: Path) -> None:
        result, _, _ = trained
        counter = BinCounter.load(result.model_dir)
        index = DatasetIndex.read(index_path)
        assert counter.card.dataset_digest == index.digest
        assert counter.card.classes == ["1", "2", "4"]
        assert counter.card.input_size == 32
        assert counter.card.metrics == pytest.approx(result.metrics)
        photo = Path(index.store) / index.photos[0].uri
        assert counter.count(photo.read_bytes()).count in (1, 2, 4)

    def test_tells_each_epoch_as_it_happens(self, trained: Any) -> None:
        result, told, _ = trained
        assert [epoch for _, epoch in told] == [1, 2]
        names = {f"val/{name}" for name in ("accuracy", "mae", "rmse", "loss")}
        names |= {"train/loss", "lr", "images_per_second", "loader_wait"}
        assert all(metrics.keys() == names for metrics, _ in told)
        assert all(np.isfinite(value) for metrics, _ in told for value in metrics.values())
        assert result.metrics == told[result.best_epoch - 1][0]
        assert (result.epochs, result.resumed_from, result.stopped, result.rules) == (2, 0, "", "")

    def test_waits_for_no_network(self, trained: Any) -> None:
        assert trained[2] == []

    def test_that_had_finished_is_not_done_again(
        self, trained: Any, index_path: Path, tmp_path: Path
    ) -> None:
        result, _, _ = trained
        before = {path: path.stat().st_mtime_ns for path in result.run_dir.rglob("*")}
        told: list[Any] = []
        elsewhere = replace(SETTINGS, squares="off", test_batch_size=2)  # how, not what
        again = train(index_path, None, elsewhere, result.run_dir.parent, lambda *epoch: told.append(epoch))
        assert told == []
        assert again.metrics == result.metrics
        assert again.model_dir is None
        assert {path: path.stat().st_mtime_ns for path in result.run_dir.rglob("*")} == before

    def test_keeps_no_optimizer(self, trained: Any) -> None:
        sizes = {path.name: path.stat().st_size for path in (trained[0].run_dir / "weights").iterdir()}
        assert sizes.keys() == {"best.pt", "last.pt"}
        assert max(sizes.values()) < 100e6

    @pytest.mark.long
    def test_again_with_the_same_seed_gives_the_same_weights_and_mlflow_has_its_figures(
        self, trained: Any, index_path: Path, tmp_path: Path, tracked: Path
    ) -> None:
        import mlflow

        result, told, _ = trained
        with tracking.start_run("training") as run_id:
            again = train(index_path, None, replace(SETTINGS, squares="off"), tmp_path / "runs")
        assert_same_weights(again.run_dir, result.run_dir)
        client = mlflow.MlflowClient(f"sqlite:///{tracked}")
        for name, value in told[0][0].items():
            points = client.get_metric_history(run_id, name)
            assert [point.step for point in points] == [1, 2]
            if name not in ("images_per_second", "loader_wait"):
                assert points[0].value == pytest.approx(value)


class TestStarts:
    def test_the_head_goes_on_where_classes_and_head_are_the_same(
        self, trained: Any, index_path: Path, tmp_path: Path
    ) -> None:
        start = str(trained[0].weights)
        settings = replace(SETTINGS, weights=start, epochs=1, lr=1e-10, ema=0.0, freeze=True)
        result = train(index_path, None, settings, tmp_path, lambda *_: None)
        assert result.start == "weights best.pt"
        before, after = torch.load(start)["state"], last_weights(result.run_dir)
        for name in before:
            assert torch.allclose(before[name].float(), after[name].float(), atol=1e-6), name

    def test_a_body_of_torchvision_is_taken_without_its_head(self, index_path: Path, tmp_path: Path) -> None:
        from torchvision.models import resnet50

        state = resnet50().state_dict()
        torch.save(state, tmp_path / "resnet50.pth")
        settings = replace(
            SETTINGS, weights=str(tmp_path / "resnet50.pth"), epochs=1, freeze=True, head="ordinal"
        )
        result = train(index_path, None, settings, tmp_path / "runs", lambda *_: None)
        after = last_weights(result.run_dir)
        assert torch.equal(after["body.conv1.weight"], state["conv1.weight"])
        assert torch.equal(after["body.bn1.running_mean"], state["bn1.running_mean"])
        assert "head.score.weight" in after

    @pytest.mark.parametrize("freeze", [False, True])
    def test_imagenet_weights_that_cannot_be_had_end_it_before_a_photo_is_decoded(
        self, index_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, freeze: bool
    ) -> None:
        def refuse(*_: Any, **__: Any) -> Any:
            raise OSError("no route to host")

        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
        settings = replace(SETTINGS, weights="imagenet", freeze=freeze)
        with pytest.raises(ModelError) as refused:
            train(index_path, None, settings, tmp_path / "runs", lambda *_: None)
        said = str(refused.value)
        assert "downloaded from https://download.pytorch.org/models/resnet50-11ad3fa6.pth (no route" in said
        assert f"by hand as {tmp_path / 'cache/weights/resnet50-11ad3fa6.pth'}," in said
        assert said.endswith("--weights none")
        assert not (tmp_path / "cache").exists()
        assert not (tmp_path / "runs").exists()

    def test_imagenet_weights_that_are_damaged_are_named(self, tmp_path: Path) -> None:
        from stocktake.bins.weights import resolve_weights

        (tmp_path / "weights").mkdir()
        (tmp_path / "weights/resnet50-11ad3fa6.pth").write_bytes(b"cut off")
        with pytest.raises(ModelError, match="does not begin with 11ad3fa6"):
            resolve_weights("imagenet", tmp_path)


def test_mixed_precision_trains_on_this_cpu(index_path: Path, tmp_path: Path) -> None:
    result = train(index_path, None, replace(SETTINGS, amp="bf16", epochs=1), tmp_path, lambda *_: None)
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert all(value.dtype != torch.bfloat16 for value in last_weights(result.run_dir).values())


class TestBeforeAnyWork:
    """Nothing is written, nothing is fetched, no hour is lost."""

    def refuse(
        self, error: type[Exception], named: str, index: Path, tmp_path: Path, settings: BinTrainSettings
    ) -> None:
        with pytest.raises(error, match=named):
            train(index, tmp_path / "model", settings, tmp_path / "runs")
        assert not (tmp_path / "model").exists()
        assert not (tmp_path / "runs").exists()

    def changed(self, index_path: Path, tmp_path: Path, only: str = "", **changes: Any) -> Path:
        index = DatasetIndex.read(index_path)
        index.photos = [
            replace(photo, **changes) if only in ("", photo.name) else photo for photo in index.photos
        ]
        index.write(tmp_path / "changed.parquet")
        return tmp_path / "changed.parquet"

    def test_no_index(self, tmp_path: Path) -> None:
        self.refuse(DataError, "no such index", tmp_path / "none.parquet", tmp_path, SETTINGS)

    @pytest.mark.parametrize(("split", "missing"), [("train", "val"), ("val", "train"), ("test", "train")])
    def test_an_empty_split(self, index_path: Path, tmp_path: Path, split: str, missing: str) -> None:
        index = self.changed(index_path, tmp_path, split=split)
        self.refuse(DataError, f"no {missing} photos", index, tmp_path, SETTINGS)

    @pytest.mark.parametrize("quantity", [3, 209, None])
    def test_a_count_outside_the_classes(
        self, index_path: Path, tmp_path: Path, quantity: int | None
    ) -> None:
        index = self.changed(index_path, tmp_path, "val_001.png", quantity=quantity)
        named = rf"1 of 13 photos have a count outside the classes 1, 2, 4: val_001\.png has {quantity}"
        self.refuse(DataError, named, index, tmp_path, SETTINGS)

    def test_a_class_without_photos(self, index_path: Path, tmp_path: Path) -> None:
        index = self.changed(index_path, tmp_path, quantity=2)
        self.refuse(DataError, "no train photo has the count 1", index, tmp_path, SETTINGS)

    def test_one_class_only(self, index_path: Path, tmp_path: Path) -> None:
        index = DatasetIndex.read(self.changed(index_path, tmp_path, quantity=2))
        del index.metadata["classes"]
        index.write(tmp_path / "one.parquet")
        self.refuse(DataError, "all photos have the count 2", tmp_path / "one.parquet", tmp_path, SETTINGS)

    def test_a_batch_larger_than_the_data(self, index_path: Path, tmp_path: Path) -> None:
        named = "batch_size is 11, but the index has 10 train photos"
        self.refuse(DataError, named, index_path, tmp_path, replace(SETTINGS, batch_size=11))

    def test_a_disk_that_is_too_small(self, index_path: Path, tmp_path: Path) -> None:
        index = self.changed(index_path, tmp_path, length=10**15, sha256="0" * 64)
        self.refuse(StoreError, "STOCKTAKE_CACHE", index, tmp_path, SETTINGS)

    def test_unknown_weights(self, index_path: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "weights is", index_path, tmp_path, replace(SETTINGS, weights="coco"))

    def test_weights_of_something_else(self, index_path: Path, tmp_path: Path) -> None:
        torch.save({"model": 1}, tmp_path / "other.pt")
        settings = replace(SETTINGS, weights=str(tmp_path / "other.pt"))
        self.refuse(ModelError, r"other\.pt: neither", index_path, tmp_path, settings)

    def test_a_gpu_that_is_not_there(self, index_path: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "usable GPUs", index_path, tmp_path, replace(SETTINGS, device="63"))

    def test_a_precision_of_gpus(self, index_path: Path, tmp_path: Path) -> None:
        self.refuse(SettingsError, "for GPUs", index_path, tmp_path, replace(SETTINGS, amp="fp16"))


def test_memory_that_is_too_small_is_advice(index_path: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a batch of 4 photos of 4096 px does not fit into memory; lower"):
        limited(index_path, tmp_path)


def limited(index_path: Path, tmp_path: Path) -> None:
    """Train on squares for which this process may not have the memory."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (2 << 30), hard))
    try:
        train(index_path, None, replace(SETTINGS, img=4096, squares="off"), tmp_path, lambda *_: None)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

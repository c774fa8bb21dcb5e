"""Trains for real: ResNet50 from scratch on a handful of squares of 32 px."""

import json
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import TrainResult, train
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, ModelError, SettingsError, StoreError
from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor
from stocktake.monitoring.results import StopTraining
from tests.tiny_counter import write_bins

SETTINGS = BinTrainSettings(weights="none", img=32, epochs=2, batch_size=4, device="cpu", warmup=0.5)
UNWATCHED = MonitorSettings(sample_hz=0, trace_steps=0)  # rules without samples and profiler


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = [
        (1.0, 1),
        (4.0, 4),
        (1.2, 1),
        (3.8, 4),
        (2.5, 2),
        (2.3, 2),
        (1.1, 1),
        (4.1, 4),
        (2.4, 2),
        (0.9, 1),
    ]
    seen = {"train": counts, "val": [(1.0, 1), (2.5, 2), (4.0, 4)]}
    return write_bins(tmp_path_factory.mktemp("data") / "bins", seen, licence="drawn", classes=[1, 2, 4])


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
    told: list[Any] = []
    reached: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda _socket, address: reached.append(address))
        patch.setattr(socket, "getaddrinfo", lambda *address, **_: reached.append(address))
        result = train(
            index_path, folder / "model", SETTINGS, folder / "runs", lambda *epoch: told.append(epoch)
        )
    return result, told, reached


def last_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(run_dir / "weights/last.pt")["state"]
    return content


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = last_weights(one), last_weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


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


KILLED = """
import json, os, signal, sys
from pathlib import Path
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import train
from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor

class Killer(TrainingMonitor):
    def step(self, step, loss, grad_scale=1.0):
        super().step(step, loss, grad_scale)
        if step == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)

settings = BinTrainSettings(**json.loads(sys.argv[3]))
monitor = Killer(MonitorSettings(sample_hz=0, trace_steps=0))
train(Path(sys.argv[1]), None, settings, Path(sys.argv[2]), lambda metrics, epoch: None, monitor)
"""


@pytest.mark.long
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    index_path: Path, tmp_path: Path, trained: Any
) -> None:
    whole, asked = trained[0], json.dumps(asdict(SETTINGS))
    arguments = [str(index_path), str(tmp_path / "runs"), asked, "4"]  # the second of three steps of epoch 2
    child = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert child.returncode == -signal.SIGKILL

    told: list[int] = []
    done: list[int] = []
    result = train(
        index_path,
        None,
        SETTINGS,
        tmp_path / "runs",
        lambda _, epoch: told.append(epoch),
        on_done_epoch=lambda _, epoch: done.append(epoch),
    )
    assert result.resumed_from == 1
    assert (done, told) == ([1], [2])
    assert_same_weights(result.run_dir, whole.run_dir)
    assert result.metrics["val/loss"] == whole.metrics["val/loss"]


CALLER_KILLED = """
import json, os, signal, sys
from pathlib import Path
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import train

def kill(metrics, epoch):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), None, BinTrainSettings(**json.loads(sys.argv[3])), Path(sys.argv[2]), kill)
"""


def children() -> set[psutil.Process]:
    """All processes below this one; servers of other tests may be among them."""
    return set(psutil.Process().children(recursive=True))


@pytest.mark.long
class TestSeveralRanks:
    settings = replace(SETTINGS, device="cpu,cpu", batch_size=8)

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """Three epochs in one go, and what was told of each."""
        told: list[Any] = []
        runs = tmp_path_factory.mktemp("whole")
        settings = replace(cls.settings, epochs=3)
        monitor = TrainingMonitor(UNWATCHED)
        return train(index_path, None, settings, runs, lambda *epoch: told.append(epoch), monitor), told

    def test_train_one_model_and_are_watched(self, whole: Any) -> None:
        result, told = whole
        assert [epoch for _, epoch in told] == [1, 2, 3]
        assert result.metrics == told[result.best_epoch - 1][0]
        assert "Overfit: " in result.rules
        assert (result.run_dir / "rules/report.html").is_file()

    def test_one_killed_is_a_clear_error_and_no_hang(self, index_path: Path, tmp_path: Path) -> None:
        def kill_the_second(_metrics: dict[str, float], _epoch: int) -> None:
            for process in children() - before:
                if process.environ().get("LOCAL_RANK") == "1":
                    process.send_signal(signal.SIGKILL)

        before = children()
        settings = replace(self.settings, epochs=500, patience=500)
        with pytest.raises(ModelError, match=r"over 2 devices failed: .*was killed.*continues"):
            train(index_path, None, settings, tmp_path / "runs", kill_the_second)
        assert children() <= before

    def test_end_with_a_caller_that_is_killed_and_continue_as_if_it_was_not(
        self, whole: Any, index_path: Path, tmp_path: Path
    ) -> None:
        settings = replace(self.settings, epochs=3)
        arguments = [str(index_path), str(tmp_path / "runs"), json.dumps(asdict(settings))]
        child = subprocess.run([sys.executable, "-c", CALLER_KILLED, *arguments], check=False)
        assert child.returncode == -signal.SIGKILL

        result = train(index_path, None, settings, tmp_path / "runs")
        assert result.resumed_from >= 1
        assert_same_weights(result.run_dir, whole[0].run_dir)

    def test_what_ends_the_caller_ends_them(self, index_path: Path, tmp_path: Path) -> None:
        def stop(_metrics: dict[str, float], _epoch: int) -> None:
            raise KeyboardInterrupt

        before = children()
        with pytest.raises(KeyboardInterrupt):
            train(index_path, None, replace(self.settings, epochs=500), tmp_path / "runs", stop)
        assert children() <= before


class TestEnding:
    @pytest.mark.long
    def test_a_hook_that_raises_stops_it_and_it_continues_later(
        self, index_path: Path, tmp_path: Path
    ) -> None:
        class PrunedError(Exception):
            pass

        def prune(_metrics: dict[str, float], epoch: int) -> None:
            if epoch == 2:
                raise PrunedError

        with pytest.raises(PrunedError):
            train(index_path, None, SETTINGS, tmp_path, prune)
        told: list[int] = []
        result = train(index_path, None, SETTINGS, tmp_path, lambda _, epoch: told.append(epoch))
        assert (result.resumed_from, told) == (1, [2])

    def test_a_rule_that_stops_it_is_no_error(self, index_path: Path, tmp_path: Path) -> None:
        class Stopper(TrainingMonitor):
            def epoch(self, epoch: int, metrics: Any) -> None:
                super().epoch(epoch, metrics)
                raise StopTraining("Overfit", "val loss rises")

        settings = replace(SETTINGS, epochs=5)
        result = train(index_path, None, settings, tmp_path, lambda *_: None, Stopper(UNWATCHED))
        assert (result.epochs, result.stopped) == (1, "Overfit: val loss rises")
        assert "train/eval_loss" in result.metrics
        assert result.rules.count("\n") == 6
        assert (result.run_dir / "rules/report.html").is_file()
        again = train(index_path, None, settings, tmp_path, lambda *_: pytest.fail("it went on"))
        assert again.stopped == result.stopped
        other = TrainingMonitor(replace(UNWATCHED, preset="seed"))
        judged = train(index_path, None, settings, tmp_path, lambda *_: pytest.fail("it went on"), other)
        answers = json.loads((result.run_dir / "rules/rules.json").read_text())
        assert (answers["preset"], answers["summary"]) == ("seed", judged.rules)
        assert judged.rules != result.rules

    def test_rules_that_may_stop_it_make_another_run(
        self, trained: Any, index_path: Path, tmp_path: Path
    ) -> None:
        runs, told = trained[0].run_dir.parent, []
        stopping = TrainingMonitor(replace(UNWATCHED, stop_on=("Overfit",)))
        result = train(index_path, None, SETTINGS, runs, lambda _, epoch: told.append(epoch), stopping)
        assert told == [1, 2]
        assert result.run_dir != trained[0].run_dir

    def test_patience_is_counted_from_the_best_epoch(self, index_path: Path, tmp_path: Path) -> None:
        settings = replace(SETTINGS, epochs=30, patience=1, lr=1e-9, ema=0.0, augment=0.0, freeze=False)
        result = train(index_path, None, settings, tmp_path, lambda *_: None)
        assert result.epochs < 30
        assert result.stopped == f"no improvement since epoch {result.best_epoch}"
        assert result.epochs == result.best_epoch + 1


@pytest.fixture(scope="module")
def poisoned(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with one weight that is not a number: every loss of it is lost."""
    content = torch.load(trained[0].weights)
    content["state"]["body.conv1.weight"][0] = float("nan")
    path = tmp_path_factory.mktemp("poisoned") / "nan.pt"
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_lost_loss_stops_at_once_and_names_the_batch(
    index_path: Path, tmp_path: Path, poisoned: str, device: str
) -> None:
    bad = replace(SETTINGS, weights=poisoned, batch_size=8, device=device, lr=0.01)
    with pytest.raises(
        ModelError, match=r"the loss is nan in epoch 1 of 2, batch 1 of 2 \(photos train_"
    ) as found:
        train(index_path, tmp_path / "model", bad, tmp_path / "runs", lambda *_: None)
    assert "lower lr (it is 0.01)" in str(found.value)
    assert not (tmp_path / "model").exists()


def test_weights_lost_in_the_last_step_of_an_epoch_are_no_checkpoint(
    index_path: Path, tmp_path: Path
) -> None:
    bad = replace(SETTINGS, batch_size=10, warmup=0, ema=0.0, lr=10)  # each epoch is one step, too long
    told: list[Any] = []
    with pytest.raises(ModelError, match=r"val/loss is (nan|inf) after epoch [12] of 2; .* \(it is 10\)"):
        train(index_path, None, bad, tmp_path, lambda *epoch: told.append(epoch))
    assert len(told) < 2
    for path in tmp_path.rglob("*.pt"):
        assert torch.load(path)["epoch"] <= len(told)


def test_the_report_of_a_training_that_fails_reaches_mlflow(
    index_path: Path, tmp_path: Path, poisoned: str, tracked: Path
) -> None:
    import mlflow

    bad = replace(SETTINGS, weights=poisoned)
    with tracking.start_run("training") as run_id, pytest.raises(ModelError, match="the loss is nan"):
        train(index_path, None, bad, tmp_path / "runs", lambda *_: None, TrainingMonitor(UNWATCHED))
    tags = mlflow.MlflowClient(f"sqlite:///{tracked}").get_run(run_id).data.tags
    assert tags["rule.Overfit"] == "InsufficientData"


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

    def test_imagenet_weights_that_cannot_be_had_are_a_warning(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from stocktake.bins.weights import resolve_weights

        def refuse(*_: Any, **__: Any) -> Any:
            raise OSError("no route to host")

        monkeypatch.setattr(socket, "create_connection", refuse)
        assert resolve_weights("imagenet", False, tmp_path).checkpoint is None
        assert "training starts from scratch" in caplog.text
        with pytest.raises(SettingsError, match="freeze would leave a random body"):
            resolve_weights("imagenet", True, tmp_path)

    def test_imagenet_weights_that_are_damaged_are_named(self, tmp_path: Path) -> None:
        from stocktake.bins.weights import resolve_weights

        (tmp_path / "weights").mkdir()
        (tmp_path / "weights/resnet50-11ad3fa6.pth").write_bytes(b"cut off")
        with pytest.raises(ModelError, match="does not begin with 11ad3fa6"):
            resolve_weights("imagenet", False, tmp_path)


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

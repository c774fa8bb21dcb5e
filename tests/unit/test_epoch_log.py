"""The metrics of epochs, kept for the MLflow run of a training that goes on in another process."""

from pathlib import Path

import mlflow
import pytest

from stocktake import tracking
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import train
from stocktake.epoch_log import keep_epochs, tell_again
from tests.tiny_counter import write_bins


def test_epochs_are_told_again_as_they_were(tmp_path: Path) -> None:
    told: list[object] = []
    keep = keep_epochs(tmp_path, lambda metrics, epoch: told.append((epoch, metrics)))
    for epoch in range(1, 12):
        keep({"val/loss": 1 / epoch}, epoch)
    again: list[object] = []
    tell_again(tmp_path, 10, lambda metrics, epoch: again.append((epoch, metrics)))
    assert again == told[:10]


def test_an_epoch_that_is_done_again_replaces_what_was_told(tmp_path: Path) -> None:
    keep = keep_epochs(tmp_path, lambda *_: None)
    for epoch, loss in ((1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5)):
        keep({"val/loss": loss}, epoch)
    again: list[object] = []
    tell_again(tmp_path, 9, lambda metrics, epoch: again.append((epoch, metrics["val/loss"])))
    assert again == [(1, 3.0), (2, 2.5)]


def test_a_folder_of_which_nothing_is_known_tells_nothing(tmp_path: Path) -> None:
    tell_again(tmp_path, 9, lambda *_: pytest.fail("told"))


@pytest.mark.long
def test_one_run_of_mlflow_has_every_epoch_of_a_training_that_was_stopped(
    tmp_path: Path, tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    seen = {"train": [(1.0, 1), (4.0, 4), (1.2, 1), (3.8, 4)], "val": [(1.0, 1), (4.0, 4)]}
    index_path = write_bins(tmp_path / "bins", seen, licence="drawn", classes=[1, 4])
    settings = BinTrainSettings(weights="none", img=32, epochs=3, batch_size=4, device="cpu")

    def stop(_: dict[str, float], epoch: int) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(index_path, None, settings, tmp_path / "runs", stop)
    for name in ("goes on", "is complete"):
        with tracking.start_run(name) as run_id:
            result = train(index_path, None, settings, tmp_path / "runs")
        history = mlflow.MlflowClient().get_metric_history(run_id, "val/loss")
        assert sorted(metric.step for metric in history) == [1, 2, 3]
    assert result.resumed_from == 3

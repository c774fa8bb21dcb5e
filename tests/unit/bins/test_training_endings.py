"""What ends a training of a counter before its last epoch: hooks, rules, patience, a loss that is lost."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stocktake import tracking
from stocktake.bins.training import train
from stocktake.errors import ModelError
from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.results import StopTraining
from tests.tiny_counter_training import SETTINGS, UNWATCHED

pytestmark = pytest.mark.usefixtures("cached_photos")


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

"""Trainings of a counter that are killed, alone or over several ranks, go on as if nothing had been."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from stocktake.bins.training import train
from stocktake.errors import ModelError
from stocktake.monitoring.monitor import TrainingMonitor
from tests.tiny_counter_training import SETTINGS, UNWATCHED, assert_same_weights

pytestmark = pytest.mark.usefixtures("cached_photos")

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

"""A training that is killed goes on from its last checkpoint; of one in the store see services."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.training import train
from tests.small_training import SETTINGS, epochs_told, start_child, wait_until

pytestmark = pytest.mark.usefixtures("photo_cache")


@pytest.mark.long
def test_a_killed_training_continues_and_redoes_no_finished_epoch(drawn_index: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    process = start_child(drawn_index, work, replace(SETTINGS, epochs=4))
    wait_until(lambda: len(epochs_told(work)) >= 2, process, work)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = epochs_told(work)
    assert before[:2] == [1, 2]
    assert not (work / "model").exists()

    told: list[int] = []
    result = train(
        drawn_index,
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

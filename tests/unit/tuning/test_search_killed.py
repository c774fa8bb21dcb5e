"""A search as a program of its own, which runs out of memory in one trial and is killed in the next."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import optuna
import pytest
from optuna.trial import create_trial

from stocktake.dataset import DatasetIndex
from stocktake.tuning.search_space import load
from stocktake.tuning.study import TrialStudy, distributions

pytestmark = pytest.mark.long

STUDY = "killed"
EPOCHS = 1000  # more than there are before the kill, however slow the machine is
DATA_BYTES = 4 * 2**30  # more than a training at 32 px needs, less than one of 32 photos at 512 px does
WAIT_S = 300
SPACE = f"""
metric: val/loss
goal: minimize
parameters: {{img: {{choices: [32, 512]}}}}
fixed: {{weights: none, epochs: {EPOCHS}, patience: {EPOCHS}, batch_size: 32, test_batch_size: 8}}
"""
ENDLESS = SPACE + "pruning: {startup_trials: 1000}"
SHORT = SPACE + "pruning: {startup_trials: 1, warmup_epochs: 0}"  # a trial ends with the first epoch it tells


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))


def start(index_path: Path, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "stocktake.cli", "bins", "search", "--no-refit", "--device", "cpu"]
    command += ["--data", str(index_path), "--space", str(folder / "space.yaml"), "--trials", "3"]
    return subprocess.Popen(
        [*command, "--project", str(folder), "--study", STUDY],
        env={**os.environ, "STOCKTAKE_CACHE": str(folder / "cache")},
        preexec_fn=limit_memory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_epochs(process: "subprocess.Popen[str]", study: TrialStudy, number: int) -> None:
    """Wait for the second: an epoch is told before its checkpoint is written."""
    deadline = time.monotonic() + WAIT_S
    while len(study.row(number).curve) < 2:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def plan(bins_index, tmp_path) -> TrialStudy:
    """A study with a trial that none can match, in which one of 512 px and one of 32 px wait."""
    (tmp_path / "space.yaml").write_text(ENDLESS)
    space = load(tmp_path / "space.yaml")
    storage = tmp_path / STUDY / "study.db"
    storage.parent.mkdir()
    study = TrialStudy.open(str(storage), STUDY, space, DatasetIndex.read(bins_index).digest)
    theirs = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{storage}")
    perfect = dict.fromkeys(range(1, EPOCHS + 1), 0.0)
    theirs.add_trial(
        create_trial(
            value=0.0,
            params={"img": 32},
            distributions=distributions(space),
            intermediate_values=perfect,
        )
    )
    for img in (512, 32):
        theirs.enqueue_trial({"img": img})
    return study


def test_a_search_goes_on_without_memory_and_after_a_kill(tracked, bins_index, plan, tmp_path):
    killed = start(bins_index, tmp_path)
    try:
        wait_for_epochs(killed, plan, number=2)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    _, lost, running = plan.rows()
    assert (lost.state, running.state) == ("failed", "running")
    assert "a batch of 32 photos of 512 px does not fit into memory" in lost.reason

    (tmp_path / "space.yaml").write_text(SHORT)
    resumed = start(bins_index, tmp_path)
    try:
        said = resumed.communicate(timeout=WAIT_S)[0]
    finally:
        resumed.kill()
    assert resumed.returncode == 0, said
    assert "the search continues; trials [2] were running when it ended" in said
    assert "| 3 | pruned |" in said
    _, lost, ended = plan.rows()
    assert (ended.state, ended.continues, ended.folder) == ("pruned", (2,), "trial-002")
    epochs = list(ended.curve)
    assert epochs == list(range(1, len(epochs) + 1))
    assert running.curve.items() <= ended.curve.items()
    log = (tmp_path / STUDY / "logs" / "trial-002.log").read_text()
    assert f"of {EPOCHS} epochs" in log.split("resuming")[1]
    assert log.count(f"epoch 1 of {EPOCHS}:") == 1

    client = mlflow.MlflowClient()
    assert client.get_run(lost.run_id).info.status == "FAILED"
    run = client.get_run(ended.run_id)
    assert (run.info.status, ended.run_id) == ("KILLED", running.run_id)
    assert run.data.tags["mlflow.parentRunId"] == plan.run_id
    steps = {metric.step for metric in client.get_metric_history(ended.run_id, "val/loss")}
    assert steps == set(epochs)

"""One search with trials of every fate, trained for real, seen from its result, its files and MLflow."""

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import mlflow
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.model_card import ModelCard
from stocktake.tuning.optuna_search import SearchResult, search
from stocktake.tuning.search_lock import search_lock
from stocktake.tuning.search_space import SearchSpace, load
from stocktake.tuning.study import TrialStudy, distributions
from stocktake.tuning.trial_index import trial_index

pytestmark = pytest.mark.long

STUDY = "fates"
KILLED = {"batch_size": 16, "epochs": 4, "lr": 0.001}
COMPLETE = {"batch_size": 16, "epochs": 2, "lr": 0.002}
REFUSED = {"batch_size": 64, "epochs": 2, "lr": 0.003}  # of 32 train photos
PRUNED = {"batch_size": 16, "epochs": 4, "lr": 0.004}


@contextlib.contextmanager
def killing_the_trial(log: Path) -> Iterator[None]:
    """Kill the process that writes to `log` as soon as it trains, as Linux would for want of memory."""
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            for process in active_children():
                with contextlib.suppress(OSError):
                    written = Path(f"/proc/{process.pid}/fd/1").readlink()
                    if written == log and "training" in log.read_text():
                        os.kill(process.pid, signal.SIGKILL)
                        return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def plan_trials(storage: Path, space: SearchSpace, index_path: Path) -> None:
    """A complete trial that only an epoch 3 is compared with, and four that wait to be trained."""
    TrialStudy.open(str(storage), STUDY, space, DatasetIndex.read(index_path).digest)
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{storage}")
    study.add_trial(
        create_trial(
            value=9.0, params=KILLED, distributions=distributions(space), intermediate_values={3: 0.0}
        )
    )
    for parameters in (KILLED, COMPLETE, REFUSED, PRUNED):
        study.enqueue_trial(parameters)


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> SearchSpace:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text("""
metric: val/loss
goal: minimize
parameters:
  batch_size: {choices: [16, 64]}
  epochs: {choices: [2, 4]}
  lr: {low: 0.001, high: 0.01, log: true}
fixed: {weights: none, img: 32, test_batch_size: 8}
refit: {epochs: 1}
pruning: {startup_trials: 1, warmup_epochs: 0}
""")
    return load(path)


@pytest.fixture(scope="module")
def searched(bins_index, space, empty_database, tmp_path_factory) -> Iterator[SearchResult]:
    out_dir = tmp_path_factory.mktemp("search")
    database = shutil.copy(empty_database, out_dir / "mlflow.db")
    plan_trials(out_dir / "study.db", space, bins_index)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_PARENT_RUN_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        patch.setenv("STOCKTAKE_CACHE", str(out_dir / "cache"))
        with killing_the_trial(out_dir / "logs" / "trial-001.log"):
            yield search(bins_index, out_dir, space, STUDY, trials=5, workers=2, device="cpu")


def runs_below(run_id: str) -> dict[str, mlflow.entities.Run]:
    client = mlflow.MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    return {run.info.run_name: run for run in found}


def test_a_trial_that_fails_is_not_a_failed_search(searched):
    rows = searched.rows
    assert [row.state for row in rows] == ["complete", "failed", "complete", "failed", "pruned"]
    assert [row.parameters for row in rows[1:]] == [KILLED, COMPLETE, REFUSED, PRUNED]
    assert "was killed, as Linux does where memory runs out" in rows[1].reason
    assert "batch_size is 64, but the index has 32 train photos" in rows[3].reason
    assert searched.best == rows[2]
    assert list(rows[2].curve) == [1, 2]
    assert list(rows[4].curve) == [1, 2, 3]
    assert rows[2].value == pytest.approx(min(rows[2].curve.values()))


def test_each_trial_is_a_run_below_that_of_the_search(searched):
    runs = runs_below(searched.run_id)
    assert {name: run.info.status for name, run in runs.items()} == {
        "trial-001": "FAILED",
        "trial-002": "FINISHED",
        "trial-003": "FAILED",
        "trial-004": "KILLED",
        "refit": "FINISHED",
    }
    complete = runs["trial-002"]
    assert complete.info.run_id == searched.best.run_id
    assert complete.data.params["train.lr"] == "0.002"
    assert complete.data.metrics["best/val/loss"] == searched.best.value
    history = mlflow.MlflowClient().get_metric_history(complete.info.run_id, "val/loss")
    assert {metric.step: metric.value for metric in history} == searched.best.curve
    assert "worse than the median" in runs["trial-004"].data.tags["stopped"]
    assert "where memory runs out" in runs["trial-001"].data.tags["error"]


def test_the_search_has_its_plots_table_and_best_in_mlflow(searched):
    client = mlflow.MlflowClient()
    names = {artifact.path for artifact in client.list_artifacts(searched.run_id, "search")}
    assert names == {
        f"search/{name}"
        for name in ("history.png", "importance.png", "parallel.png", "report.html", "trials.json")
    }
    run = client.get_run(searched.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["best_trial"] == "2"
    assert run.data.tags["best.lr"] == "0.002"
    assert not [name for name in run.data.params if name.startswith("best.")]  # which can't be changed
    assert run.data.metrics["best/val/loss"] == searched.best.value
    table = mlflow.artifacts.load_dict(f"runs:/{searched.run_id}/search/trials.json")
    states, rates = (table["columns"].index(name) for name in ("state", "lr"))
    assert [line[states] for line in table["data"]] == [row.state for row in searched.rows]
    assert [line[rates] for line in table["data"]] == [row.parameters["lr"] for row in searched.rows]


def test_the_report_shows_every_trial(searched):
    page = searched.report.read_text()
    assert page.count("<figure>") == 3
    for text in ("Best is trial 2", "batch_size is 64, but the index has 32", "pruned", "0.001 to 0.01, log"):
        assert text in page


def test_the_best_is_refit_with_its_parameters(searched, bins_index):
    card = ModelCard.read(searched.model_dir)
    assert card.dataset_digest == DatasetIndex.read(bins_index).digest
    assert card.name.endswith("1 epochs")  # what the space wants of the refit
    assert searched.metrics == pytest.approx(card.metrics)
    assert runs_below(searched.run_id)["refit"].data.params["train.batch_size"] == "16"


def test_only_the_best_trial_keeps_its_checkpoints(searched):
    assert {path.name for path in (searched.folder / "trials").iterdir()} == {"trial-002"}
    assert {path.stem for path in (searched.folder / "logs").iterdir()} == {
        f"trial-{number:03d}" for number in range(1, 5)
    }


def test_called_again_it_takes_the_result_that_is_there(searched, bins_index, space):
    again = search(bins_index, searched.folder, space, STUDY, trials=5, device="cpu", refit=False)
    assert (again.rows, again.run_id, again.model_dir) == (searched.rows, searched.run_id, None)


def test_two_searches_cannot_share_a_folder(searched, bins_index, space):
    with (
        search_lock(searched.folder),
        pytest.raises(SettingsError, match="in use by another search; wait for it, or take another --study"),
    ):
        search(bins_index, searched.folder, space, STUDY, trials=5)


def test_a_study_of_other_photos_is_refused(searched, bins_index, space, tmp_path):
    index = DatasetIndex.read(bins_index)
    index.photos.pop()
    index.write(tmp_path / "index.parquet")
    with pytest.raises(SettingsError, match=r"is of another search .photos digest was"):
        search(tmp_path / "index.parquet", searched.folder, space, STUDY, trials=5)


def test_a_search_whose_trials_all_fail_ends_and_says_why(tracked, bins_index, write_space, tmp_path):
    impossible = load(write_space(fixed={"weights": "none", "batch_size": 64, "img": 32}))
    with pytest.raises(
        SettingsError, match=r"the first 3 trials have all failed, the last one so: .*batch_size"
    ):
        search(bins_index, tmp_path / "out", impossible, trials=50, device="cpu")
    study = optuna.load_study(study_name="bins", storage=f"sqlite:///{tmp_path / 'out' / 'study.db'}")
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.FAIL] * 3


BATCHES = {  # of which the train photos fill the first alone
    "parameters": {"batch_size": {"choices": [16, 64, 128, 256]}},
    "fixed": {"weights": "none", "img": 32, "epochs": 1, "test_batch_size": 8},
}


@pytest.mark.parametrize(
    ("seed", "workers", "batches"),
    [
        (3, 1, [64, 64, 256, 16]),  # the last would be 128 where the smallest were not tried
        (6, 2, [16, 64, 256, 256]),  # the first still trains when the others have failed
    ],
)
def test_failed_trials_end_no_search_that_can_still_train(
    seed, workers, batches, tracked, bins_index, write_space, tmp_path
):
    space = load(write_space(**BATCHES))
    found = search(
        bins_index,
        tmp_path / "out",
        space,
        trials=4,
        workers=workers,
        device="cpu",
        refit=False,
        seed=seed,
    )
    assert [row.parameters["batch_size"] for row in found.rows] == batches
    assert [row.state for row in found.rows if row.parameters["batch_size"] == 16] == ["complete"]
    assert sum(row.state == "failed" for row in found.rows) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"trials": -1}, "trials is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"study": "a/b"}, "study is 'a/b'"),
        ({"device": "gpu"}, "device is 'gpu'"),
    ],
)
def test_impossible_arguments(arguments, said, bins_index, space, tmp_path):
    with pytest.raises(SettingsError, match=said):
        search(bins_index, tmp_path, space, **arguments)
    assert not any(tmp_path.iterdir())


def test_a_trial_may_see_a_part_of_the_train_photos(bins_index, tmp_path):
    whole = DatasetIndex.read(bins_index)
    assert trial_index(bins_index, None, tmp_path) == trial_index(bins_index, 32, tmp_path) == bins_index
    names = []
    for photos in (10, 20):
        part = DatasetIndex.read(trial_index(bins_index, photos, tmp_path))
        assert len(part.split("train")) == photos
        assert [photo.name for photo in part.split("val")] == [photo.name for photo in whole.split("val")]
        names.append({photo.name for photo in part.split("train")})
    assert names[0] < names[1]

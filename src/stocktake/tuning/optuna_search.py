"""A search on this machine: trials in processes of their own, a study that survives kills, the best refit."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.setting_checks import expect_devices, expect_folder_name, expect_whole
from stocktake.settings import load_settings
from stocktake.tuning.search_lock import search_lock
from stocktake.tuning.search_space import SearchSpace
from stocktake.tuning.trial_index import trial_index

if TYPE_CHECKING:
    from stocktake.tuning.study import TrialRow, TrialStudy

log = logging.getLogger(__name__)

PROJECT = Path("runs/search")  # folder of searches
STORAGE_FILE = "study.db"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What came out of a search."""

    folder: Path
    best: "TrialRow"
    rows: "list[TrialRow]"
    run_id: str  # of MLflow, above those of the trials
    report: Path
    model_dir: Path | None  # of the refit
    metrics: dict[str, float]  # of the refit, on val photos

    def figures(self) -> dict[str, float]:
        """The best value, and how many trials ended how."""
        states = [row.state for row in self.rows]
        ends = {f"trials_{state}": states.count(state) for state in ("complete", "pruned", "failed")}
        return {"best": self.best.value or 0.0, "best_trial": self.best.number, **ends}


def search(
    index_path: Path,
    out_dir: Path | None,
    space: SearchSpace,
    study: str = "bins",
    storage: str | None = None,
    trials: int | None = None,
    workers: int = 1,
    device: str = "",
    refit: bool = True,
    seed: int = 0,
) -> SearchResult:
    """Search the best settings of the bin counter, and train it with them.

    A search that was killed continues when it is called again: finished trials count, running ones go on from
    their last checkpoint; on another machine too where STOCKTAKE_CHECKPOINT_MINUTES is set. A trial that
    fails, for want of memory or otherwise, is one failed trial.

    Args:
        index_path: a prepared index.parquet.
        out_dir: gets trials/, logs/, report.html, study.db and, with `refit`, model/; STOCKTAKE_WORK_DIR, or
            else runs/search/`study`, when None.
        space: what is searched, see `search_space.load`.
        study: name in the storage.
        storage: file of SQLite, `*.journal`, or a database URL; study.db in `out_dir` when None.
        trials: in all, those of earlier calls included; the space's number when None.
        workers: trials at a time, each in a process with its share of the cores.
        device: as in `BinTrainSettings`; of a list each worker takes one, in turn.
        refit: train with the best settings on all photos, and export a model dir.
        seed: of the search; the trainings have `seed` in the space.

    Raises:
        SettingsError: an argument is impossible, the study is of something else, or no trial was completed.
        DataError: the index can't be used.
        StoreError: the disk is full, or a store can't be read.
    """
    from stocktake.tuning.search_report import publish
    from stocktake.tuning.study import TrialStudy, quiet_optuna
    from stocktake.tuning.study_store import StudyKeeper
    from stocktake.tuning.trial_runner import TrialRunner, make_slots

    trials = space.trials if trials is None else trials
    expect_whole("trials", trials, 1, 100_000)
    expect_whole("workers", workers, 1, 1024)
    expect_folder_name("study", study)
    expect_devices(device)
    out_dir = (out_dir or load_settings().work_dir or PROJECT / study).absolute()
    index = DatasetIndex.read(index_path)
    file = out_dir / STORAGE_FILE
    about = {**space.identity, "study": study, "seed": seed, "photos digest": index.digest}
    keeper = StudyKeeper(file, about, None if storage else load_settings().checkpoint_minutes)
    with search_lock(out_dir), quiet_optuna():
        keeper.fetch()
        known = TrialStudy.open(storage or str(file), study, space, index.digest, seed, out_dir)
        interrupted = known.continue_interrupted()
        if interrupted:
            log.info("the search continues; trials %s were running when it ended", interrupted)
        named = tracking.start_run(f"search {study}", BinCounter.TASK, {"study": study}, run_id=known.run_id)
        with keeper.keep(), named as run_id:
            known.run_id = run_id
            tracking.log_params(space.identity, "search")
            tracking.log_dataset(index, "training")
            trial_photos = trial_index(index_path, space.photos, out_dir)
            runner = TrialRunner(known, space, trial_photos, out_dir, run_id)
            runner.run(trials, make_slots(workers, device))
            best = _best(known, out_dir)
            model_dir: Path | None = None
            metrics: dict[str, float] = {}
            try:
                if refit:
                    model_dir, metrics = _refit(best, space, index_path, trial_photos, out_dir, device)
            finally:  # a refit that fails takes nothing from the search
                report = publish(known, space, index, study, out_dir, metrics)
    return SearchResult(out_dir, best, known.rows(), run_id, report, model_dir, metrics)


def _refit(
    best: "TrialRow", space: SearchSpace, index_path: Path, trial_photos: Path, out_dir: Path, device: str
) -> tuple[Path, dict[str, float]]:
    """Train with the best settings; export the trial's own checkpoint where that would repeat it exactly."""
    from stocktake.tuning.refit import train_best

    is_repeated = not space.refit and trial_photos == index_path
    trial = best.folder if is_repeated else ""
    return train_best(best.parameters, space, index_path, out_dir, device, trial)


def _best(study: "TrialStudy", out_dir: Path) -> "TrialRow":
    if study.best is None:
        rows = study.rows()
        raise SettingsError(
            f"none of {len(rows)} trials was completed; the last one: {rows[-1].reason or rows[-1].state}."
            f" Their logs are in {out_dir / 'logs'}"
        )
    return study.best

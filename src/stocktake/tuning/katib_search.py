"""A search on a cluster: an Experiment of Katib, started, followed, and shown like one of this machine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.cluster.api import Cluster, Object
from stocktake.cluster.experiment import PARENT_RUN, find_experiment, run_experiment, trials_of
from stocktake.cluster.following import POLL_S, condition
from stocktake.dataset import INDEX_FILE, DatasetIndex
from stocktake.errors import SettingsError
from stocktake.files import atomic_path
from stocktake.settings import load_settings
from stocktake.storage import open_store
from stocktake.tuning.katib import experiment, search_digest
from stocktake.tuning.katib_job import TrialPod
from stocktake.tuning.katib_result import typed
from stocktake.tuning.optuna_search import PROJECT, SearchResult
from stocktake.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    from stocktake.tuning.study import TrialStudy

FOUND_FILE = "experiment.json"
INDEXES = "indexes"  # in the store, by digest: the photos of searches
ENDS = {  # conditions of a trial -> what a search of this machine says
    "Succeeded": "complete",
    "EarlyStopped": "pruned",
    "Failed": "failed",
    "Killed": "failed",
    "MetricsUnavailable": "failed",
}


def search_on_katib(
    cluster: Cluster,
    index_path: Path,
    out_dir: Path | None,
    space: SearchSpace,
    pod: TrialPod,
    name: str | None = None,
    trials: int | None = None,
    workers: int = 3,
    seed: int = 0,
    poll_s: float = POLL_S,
) -> SearchResult:
    """Search the settings of the bin counter with trials that are Jobs of the cluster.

    Killed and called again, it follows the experiment of this name. One that has ended is read.

    Args:
        cluster: with Katib.
        index_path: a prepared index, which is put into the store for the trials.
        out_dir: gets report.html, and experiment.json for `best_values`; STOCKTAKE_WORK_DIR, or else
            runs/search/`name`, when None.
        space: what is searched.
        pod: of a trial; its `data` and `parent_run` are set here.
        name: of the experiment: the same search and name are the same experiment. From the search when None.
        trials: in all; the space's number when None.
        workers: trials at a time.
        seed: of the search.
        poll_s: between two looks.

    Raises:
        SettingsError: Katib would refuse or misunderstand something, or no trial was completed.
        DataError, StoreError: the index can't be read, or not be put into the store.
        ClusterError: as `run_experiment` does.
    """
    from stocktake.tuning.search_report import publish

    index = DatasetIndex.read(index_path)
    pod = replace(pod, data=_put(index_path, index), parent_run="")
    name = name or f"bins-{search_digest(space, pod, seed)[:10]}"
    out_dir = out_dir or load_settings().work_dir or PROJECT / name
    asked = (name, trials, workers, seed)
    known = find_experiment(cluster, experiment(space, pod, *asked))
    above = (known["metadata"]["annotations"] if known else {}).get(PARENT_RUN)
    named = tracking.start_run(f"search {name}", BinCounter.TASK, {"study": name}, run_id=above)
    with named as run_id:
        pod = replace(pod, parent_run=run_id if known is None else above or "")
        tracking.log_params(space.identity, "search")
        tracking.log_dataset(index, "training")
        found = run_experiment(cluster, experiment(space, pod, *asked), poll_s)
        with atomic_path(out_dir / FOUND_FILE) as part:
            part.write_text(json.dumps(found, indent=2))
        study = _study(trials_of(cluster, name), space)
        if study.best is None:
            raise SettingsError(
                f"no trial of the experiment {name} was completed; `kubectl -n {cluster.namespace} get trials"
                f" -l katib.kubeflow.org/experiment={name}` says how they ended"
            )
        report = publish(study, space, index, name, out_dir, {})
    return SearchResult(out_dir, study.best, study.rows(), run_id, report, None, {})


def _put(index_path: Path, index: DatasetIndex) -> str:
    store, key = open_store(load_settings().store), f"{INDEXES}/{index.digest}/{INDEX_FILE}"
    if not store.exists(key):
        store.put(key, index_path)
    return store.url(key)


def _study(trials: Sequence[Object], space: SearchSpace) -> "TrialStudy":
    """The trials as a study in memory, so that they are shown as those of this machine are."""
    import optuna

    from stocktake.tuning.study import TrialStudy, quiet_optuna

    with quiet_optuna():
        study = optuna.create_study(direction=space.goal)
        for trial in trials:
            study.add_trial(_frozen(trial, space))
    return TrialStudy(study, space)


def _frozen(trial: Mapping[str, Any], space: SearchSpace) -> Any:
    from optuna.trial import TrialState, create_trial

    from stocktake.tuning.study import REASON, distributions

    name = trial["metadata"]["name"]
    given = {each["name"]: str(each["value"]) for each in trial["spec"].get("parameterAssignments") or ()}
    end = next((end for end in ENDS if condition(trial, end)), "Failed")
    value = _value(trial, space)
    state = ENDS[end] if value is not None or end != "Succeeded" else "failed"
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    frozen = create_trial(
        state=states[state],
        value=value if state != "failed" else None,
        params=typed(f"trial {name}", space, given),
        distributions=distributions(space),
        user_attrs={REASON: f"{name}: {_reason(trial, end)}"} if state == "failed" else {},
    )
    status = trial.get("status", {})
    for field, attribute in (("startTime", "datetime_start"), ("completionTime", "datetime_complete")):
        if status.get(field):
            setattr(frozen, attribute, datetime.fromisoformat(status[field]).replace(tzinfo=None))
    return frozen


def _value(trial: Mapping[str, Any], space: SearchSpace) -> float | None:
    """The best figure of its epochs."""
    best = "max" if space.goal == "maximize" else "min"
    figures = (trial.get("status", {}).get("observation") or {}).get("metrics") or ()
    for figure in figures:
        if figure["name"] == space.metric:
            try:
                return float(figure[best])
            except (KeyError, ValueError):  # Katib says 'unavailable' where there was none
                return None
    return None


def _reason(trial: Mapping[str, Any], end: str) -> str:
    found = condition(trial, end) or {}
    return str(found.get("message") or found.get("reason") or end)

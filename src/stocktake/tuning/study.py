"""The trials of a search in Optuna: what to try next, when to stop a trial, and what came out.

Importing this module imports optuna. One process talks to the storage, the one that runs the search.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from stocktake.errors import SettingsError
from stocktake.mlflow_server import first_line
from stocktake.tuning.search_space import Choices, SearchSpace

ABOUT = "stocktake.about"  # attribute of a study: the space and the photos that it is of
FOLDER = "stocktake.folder"  # attribute of a study: where its trials have their checkpoints
RUN = "stocktake.run_id"  # attribute of a study and of its trials: the run of MLflow
REASON = "stocktake.reason"  # attribute of a trial that failed
CONTINUES = "stocktake.continues"  # attribute of a trial: numbers of the trials that it continues
STUCK = "stocktake.stuck"  # attribute of a trial: interruptions in the same epoch, and epochs before it
MAX_STUCK = 3  # then the trial itself is what ends the search, most often for want of memory

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class TrialRow:
    """What is known of a trial. A trial that continues another one stands for both."""

    number: int
    state: str  # complete, pruned, failed, running, waiting
    value: float | None  # of the metric: of its best epoch where complete, the last one where pruned
    parameters: dict[str, Any]
    curve: dict[int, float] = field(default_factory=dict)  # epoch, from 1 -> metric
    seconds: float | None = None
    reason: str = ""  # why it failed
    run_id: str = ""  # of MLflow
    continues: tuple[int, ...] = ()

    @property
    def folder(self) -> str:
        """Name of its folder, the same for all trials that continue each other."""
        return f"trial-{min((*self.continues, self.number)):03d}"


class TrialStudy:
    """An Optuna study with multivariate TPE and median pruning, which can be continued after a kill."""

    def __init__(self, study: optuna.Study, space: SearchSpace):
        self._study = study
        self._space = space

    @classmethod
    def open(
        cls,
        storage: str,
        name: str,
        space: SearchSpace,
        photos: str,
        seed: int = 0,
        folder: Path | None = None,
    ) -> "TrialStudy":
        """Create a study, or continue the one of this name.

        Args:
            storage: file of SQLite, `*.journal` for Optuna's journal, or a database URL.
            name: of the study.
            space: what is searched.
            photos: digest of the index.
            seed: of the first trials, which are drawn at random.
            folder: of the search, absolute; not checked where None.

        Raises:
            SettingsError: the storage can't be used, or the study is of another space, goal or folder, or of
                other photos.
        """
        backend = _open_storage(storage)
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=space.pruning.startup_trials,
            n_warmup_steps=space.pruning.warmup_epochs + 1,  # epochs are counted from 1
        )
        study = optuna.create_study(
            storage=backend, study_name=name, direction=space.goal, pruner=pruner, load_if_exists=True
        )
        done = len(study.get_trials(deepcopy=False))
        # another seed when it continues, or it would draw its first trials again
        study.sampler = optuna.samplers.TPESampler(seed=seed + done, multivariate=True, constant_liar=True)
        _claim(study, {**space.identity, "photos digest": photos}, storage)
        if folder:
            _claim_folder(study, folder, storage)
        return cls(study, space)

    @property
    def run_id(self) -> str | None:
        """The run of MLflow that the search has, once it has been told."""
        return self._study.user_attrs.get(RUN)

    @run_id.setter
    def run_id(self, run_id: str) -> None:
        self._study.set_user_attr(RUN, run_id)

    def continue_interrupted(self) -> list[int]:
        """Queue again what was running when a search was killed; return the numbers of these trials.

        A trial keeps its parameters, its curve and its run of MLflow, and the trainer has its checkpoint. No
        process of an earlier search may be alive.
        """
        continued = {number for row in self._all() for number in row.continues}
        interrupted = self._study.get_trials(states=(TrialState.RUNNING,))
        for trial in interrupted:
            if trial.number not in continued:  # a kill between the two steps below
                self._study.add_trial(_continuation(trial))
            self._study.tell(trial.number, state=TrialState.FAIL)
        return [trial.number for trial in interrupted]

    def next(self, trials: int) -> Trial | None:
        """A trial to run, with all its parameters; None where `trials` have been begun."""
        while True:
            rows = self.rows()
            if len(rows) >= trials and not any(row.state == "waiting" for row in rows):
                return None
            trial = self._study.ask(distributions(self._space))
            if trial.user_attrs.get(STUCK, [0])[0] < MAX_STUCK:
                return trial
            self.fail(
                trial, f"the search was killed {MAX_STUCK} times in one epoch of it; too little memory?"
            )

    def queue_smallest(self, name: str, tried: Iterable[TrialRow]) -> bool:
        """Have the next trial take the smallest value of a parameter; False where one of `tried` did."""
        parameter = self._space.parameters.get(name)
        if parameter is None:
            return False
        smallest = min(parameter.values)
        if any(row.parameters[name] == smallest for row in tried):
            return False
        self._study.enqueue_trial({name: smallest})
        return True

    def note_run(self, trial: Trial, run_id: str) -> None:
        """Note the run of MLflow that a trial has."""
        trial.set_user_attr(RUN, run_id)

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Note what an epoch has reached; True where the trial is not worth another one."""
        if epoch not in self.row(trial.number).curve:  # an epoch is done again where its checkpoint was lost
            trial.report(value, epoch)
        return trial.should_prune()

    def complete(self, trial: Trial, value: float) -> None:
        """Note what a trial has reached with its best epoch."""
        self._study.tell(trial, value)

    def prune(self, trial: Trial) -> None:
        """Note that a trial was stopped as `report` advised."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Note why a trial failed."""
        trial.set_user_attr(REASON, reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def rows(self) -> list[TrialRow]:
        """All trials in their order, without those that another one continues."""
        rows = self._all()
        continued = {number for row in rows for number in row.continues}
        return [row for row in rows if row.number not in continued]

    def row(self, number: int) -> TrialRow:
        """One trial."""
        return self._all()[number]

    @property
    def best(self) -> TrialRow | None:
        """The complete trial with the best value, the first of equals."""
        complete = [row for row in self.rows() if row.state == "complete" and row.value is not None]
        sign = -1 if self._space.goal == "maximize" else 1
        return min(complete, key=lambda row: (sign * (row.value or 0.0), row.number), default=None)

    def importances(self) -> dict[str, float]:
        """The share of each parameter in what trials differ by (PED-ANOVA); empty where it can't be told."""
        values = {row.value for row in self.rows() if row.state == "complete"}
        if len(values) < 2:
            return {}
        # the better half against all of them; Optuna's default, a tenth, is two trials of twenty
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
        found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def _all(self) -> list[TrialRow]:
        return [_row(trial) for trial in self._study.get_trials(deepcopy=False)]


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The parameters of a space as Optuna has them."""
    found: dict[str, BaseDistribution] = {}
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Choices):
            found[name] = CategoricalDistribution(parameter.choices)
        elif space.is_whole(name):
            step = int(parameter.step or 1)
            found[name] = IntDistribution(int(parameter.low), int(parameter.high), parameter.log, step)
        else:
            found[name] = FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)
    return found


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's line for each trial out of the log; the search has its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _open_storage(storage: str) -> optuna.storages.BaseStorage:
    from optuna.storages.journal import JournalFileBackend

    try:
        if storage.endswith(".journal"):
            return optuna.storages.JournalStorage(JournalFileBackend(storage))
        url = storage if "://" in storage else f"sqlite:///{storage}"
        return optuna.storages.RDBStorage(url)
    except Exception as error:  # each kind of storage fails in its own way
        raise SettingsError(
            f"storage {storage}: cannot be used ({first_line(error)}); give a file, or the URL of a database"
        ) from error


def _claim(study: optuna.Study, about: Mapping[str, Any], storage: str) -> None:
    """Note what a study is of; refuse one that is of something else."""
    wanted = dict(_flat(json.loads(json.dumps(about))))
    found = study.user_attrs.get(ABOUT)
    if found is None and not study.get_trials(deepcopy=False):
        goals = [direction.name.lower() for direction in study.directions]
        if goals != [about["goal"]]:
            raise SettingsError(
                f"the study {study.study_name!r} in {storage} was created to {' and '.join(goals)}, but the"
                f" space says {about['goal']}; take another --study"
            )
        study.set_user_attr(ABOUT, about)
        return
    known = dict(_flat(found or {}))
    changed = sorted(name for name in wanted.keys() | known.keys() if wanted.get(name) != known.get(name))
    if changed:
        what = ", ".join(f"{name} was {known.get(name)!r}, now {wanted.get(name)!r}" for name in changed)
        raise SettingsError(
            f"the study {study.study_name!r} in {storage} is of another search ({what}); take another --study"
        )


def _claim_folder(study: optuna.Study, folder: Path, storage: str) -> None:
    """Note where a study has its checkpoints; refuse another folder, whose lock is another one."""
    known = study.user_attrs.get(FOLDER, str(folder))
    moved_along = "://" not in storage and Path(storage).absolute().is_relative_to(folder)
    if known != str(folder) and not moved_along:
        raise SettingsError(
            f"the study {study.study_name!r} in {storage} is searched from {known}, not from {folder};"
            " continue it there, or take another --study"
        )
    study.set_user_attr(FOLDER, str(folder))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _continuation(trial: FrozenTrial) -> FrozenTrial:
    attributes = dict(trial.user_attrs)
    epochs = len(trial.intermediate_values)
    stuck = attributes.get(STUCK, [0, 0])
    attributes[STUCK] = [stuck[0] + 1 if epochs == stuck[1] else 1, epochs]
    attributes[CONTINUES] = [*attributes.get(CONTINUES, []), trial.number]
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attributes,
        intermediate_values=trial.intermediate_values,
    )


def _row(trial: FrozenTrial) -> TrialRow:
    return TrialRow(
        number=trial.number,
        state=_STATES[trial.state],
        value=trial.value if trial.state.is_finished() else None,
        parameters=trial.params,
        curve=dict(sorted(trial.intermediate_values.items())),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        reason=trial.user_attrs.get(REASON, ""),
        run_id=trial.user_attrs.get(RUN, ""),
        continues=tuple(trial.user_attrs.get(CONTINUES, ())),
    )

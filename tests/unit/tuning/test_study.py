"""Studies in real storages, told what trainings would have reached."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from stocktake.errors import SettingsError
from stocktake.tuning.search_space import load
from stocktake.tuning.study import MAX_STUCK, TrialStudy, distributions
from stocktake.tuning.trial_process import Ended
from stocktake.tuning.trial_runner import TrialRunner

PHOTOS = "d1ge57"


@pytest.fixture(params=["study.db", "study.journal"])
def storage(request, tmp_path) -> str:
    return str(tmp_path / request.param)


def open_study(storage, space="bins", photos=PHOTOS, seed=0, name="a") -> TrialStudy:
    return TrialStudy.open(storage, name, load(space), photos, seed)


def finish(study: TrialStudy, value: float, epochs: int = 1):
    trial = study.next(1000)
    for epoch in range(1, epochs + 1):
        study.report(trial, epoch, value)
    study.complete(trial, value)
    return trial


def test_the_space_as_optuna_has_it():
    assert distributions(load("bins")) == {
        "lr": FloatDistribution(0.001, 0.1, log=True),
        "batch_size": CategoricalDistribution((32, 64, 128, 256, 512)),
        "epochs": IntDistribution(2, 10),
    }


def test_trials_are_drawn_until_there_are_enough(storage):
    study = open_study(storage)
    drawn = [study.next(3) for _ in range(4)]
    assert drawn[3] is None
    for trial in drawn[:3]:
        assert 0.001 <= trial.params["lr"] <= 0.1
        assert trial.params["batch_size"] in (32, 64, 128, 256, 512)
        assert 2 <= trial.params["epochs"] <= 10
    assert [row.state for row in study.rows()] == ["running"] * 3


def test_the_same_seed_draws_the_same_trials_and_a_continued_study_draws_others(tmp_path):
    first, again = (
        [open_study(str(tmp_path / name)).next(9).params for _ in range(2)] for name in ("one.db", "two.db")
    )
    assert first == again
    assert first[0] != first[1]


def test_the_best_is_complete(storage):
    study = open_study(storage)
    assert study.best is None
    finish(study, 0.5)
    good = finish(study, 0.7)
    finish(study, 0.7)
    pruned = study.next(9)
    study.report(pruned, 1, 0.9)
    study.prune(pruned)
    study.fail(study.next(9), "no memory")
    assert (study.best.number, study.best.value, study.best.parameters) == (good.number, 0.7, good.params)
    assert [row.state for row in study.rows()] == ["complete", "complete", "complete", "pruned", "failed"]
    assert (study.rows()[3].value, study.rows()[3].curve) == (0.9, {1: 0.9})
    assert study.rows()[4].reason == "no memory"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_a_failed_trial(tmp_path, value):
    study = open_study(str(tmp_path / "s.db"))
    finish(study, 0.5)
    runner = TrialRunner(study, load("bins"), tmp_path / "index.parquet", tmp_path, parent_run="")
    runner._end(study.next(2), Ended(value))
    assert [row.state for row in study.rows()] == ["complete", "failed"]
    assert study.rows()[1].reason == f"val/accuracy is {value}, which is no value to compare"
    assert study.best.value == 0.5


def test_where_less_is_better_the_best_is_least(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("metric: val/loss\ngoal: minimize\nparameters: {lr: {low: 0.1, high: 0.2}}\n")
    study = open_study(str(tmp_path / "s.db"), str(path))
    for value in (0.4, 0.2, 0.3):
        finish(study, value)
    assert study.best.value == 0.2


def test_a_trial_below_the_median_is_stopped_once_others_are_complete(tmp_path):
    study = open_study(str(tmp_path / "s.db"))
    for value in (0.4, 0.5, 0.6, 0.7):
        finish(study, value, epochs=3)
    bad = study.next(99)
    assert not study.report(bad, 1, 0.1)
    assert not study.report(bad, 2, 0.1)  # four of the five that the space wants are complete
    finish(study, 0.8, epochs=3)
    good, bad = study.next(99), study.next(99)
    assert not study.report(bad, 1, 0.1)  # the epoch of warm-up
    assert study.report(bad, 2, 0.1)
    assert not study.report(good, 1, 0.61)
    assert not study.report(good, 2, 0.61)


@pytest.mark.long
def test_importances_need_trials_that_differ(tmp_path):
    study = open_study(str(tmp_path / "s.db"))
    assert study.importances() == {}
    finish(study, 0.5)
    finish(study, 0.5)
    assert study.importances() == {}
    for _ in range(20):
        trial = study.next(99)
        study.complete(trial, trial.params["lr"])
    shares = study.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "lr"


def test_what_ran_when_a_search_was_killed_is_continued(storage):
    study = open_study(storage)
    study.run_id = "above"
    finish(study, 0.5)
    killed = study.next(3)
    study.note_run(killed, "r1")
    study.report(killed, 1, 0.3)

    study = open_study(storage)
    assert study.run_id == "above"
    assert study.continue_interrupted() == [killed.number]
    assert study.continue_interrupted() == []
    continued = study.next(3)
    row = study.row(continued.number)
    assert (row.parameters, row.curve, row.run_id) == (killed.params, {1: 0.3}, "r1")
    assert (row.folder, row.continues) == ("trial-001", (1,))
    assert not study.report(continued, 1, 0.4)  # done again, since its checkpoint was lost
    study.report(continued, 2, 0.6)
    study.complete(continued, 0.6)
    assert [row.number for row in study.rows()] == [0, 2]
    assert study.best.curve == {1: 0.3, 2: 0.6}
    assert study.next(3).number == 3  # the trial and its continuation count once
    assert study.next(3) is None


def test_a_trial_that_takes_the_search_down_again_and_again_has_failed(tmp_path):
    storage = str(tmp_path / "s.db")
    study = open_study(storage)
    study.report(study.next(1), 1, 0.3)
    for _ in range(MAX_STUCK):
        study = open_study(storage)
        study.continue_interrupted()
        trial = study.next(1)
    assert trial is None
    (row,) = study.rows()
    assert row.state == "failed"
    assert "too little memory?" in row.reason
    assert len(row.continues) == MAX_STUCK


def test_a_trial_that_gets_on_may_be_interrupted_any_number_of_times(tmp_path):
    storage = str(tmp_path / "s.db")
    trial = open_study(storage).next(1)
    for epoch in range(1, 2 * MAX_STUCK):
        study = open_study(storage)
        study.continue_interrupted()
        trial = study.next(1)
        study.report(trial, epoch, 0.5)
    assert trial.number == 2 * MAX_STUCK - 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"space": "bins-demo"}, "parameters.epochs.high was 10, now 2"),
        ({"photos": "0th3r"}, "photos digest was 'd1ge57', now '0th3r'"),
    ],
)
def test_a_study_of_another_search_is_refused(storage, changed, said):
    open_study(storage)
    with pytest.raises(SettingsError, match=r"the study 'a' in .* is of another search") as error:
        open_study(storage, **changed)
    assert said in str(error.value)
    assert "take another --study" in str(error.value)
    open_study(storage, **changed, name="b")


def test_a_study_that_is_not_ours_is_refused(tmp_path):
    theirs = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", study_name="a")
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(SettingsError, match="metric was None, now 'val/accuracy'"):
        open_study(str(tmp_path / "s.db"))


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]])
def test_an_empty_study_of_another_direction_is_refused(tmp_path, directions):
    storage = f"sqlite:///{tmp_path / 's.db'}"
    optuna.create_study(storage=storage, study_name="a", directions=directions)
    with pytest.raises(
        SettingsError, match=f"created to {' and '.join(directions)}, but the space says maximize"
    ):
        open_study(storage)
    optuna.create_study(storage=storage, study_name="b", direction="maximize")
    open_study(storage, name="b")


def test_a_study_is_searched_from_one_folder(storage, tmp_path):
    def open_from(folder, storage=storage):
        return TrialStudy.open(storage, "a", load("bins"), PHOTOS, folder=folder)

    open_from(tmp_path / "one")
    open_from(tmp_path / "one")
    with pytest.raises(SettingsError, match=r"is searched from .*/one, not from .*/two; continue it there"):
        open_from(tmp_path / "two")


def test_a_folder_may_be_moved_with_the_study_in_it(tmp_path):
    (tmp_path / "old").mkdir()
    TrialStudy.open(str(tmp_path / "old/s.db"), "a", load("bins"), PHOTOS, folder=tmp_path / "old")
    new = (tmp_path / "old").rename(tmp_path / "new")
    TrialStudy.open(str(new / "s.db"), "a", load("bins"), PHOTOS, folder=new)


@pytest.mark.parametrize("storage", ["nowhere/s.db", "nowhere/s.journal", "swan://lake"])
def test_a_storage_that_cannot_be_used(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=f"storage {storage}: cannot be used"):
        open_study(storage)


def test_a_file_that_is_no_storage(tmp_path):
    (tmp_path / "s.db").write_text("swans " * 1000)
    with pytest.raises(SettingsError, match="cannot be used"):
        open_study(str(tmp_path / "s.db"))

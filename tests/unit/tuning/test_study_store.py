"""A search whose machine is lost goes on from the store."""

import shutil
import sqlite3

import pytest

from stocktake.errors import SettingsError
from stocktake.tuning.optuna_search import search
from stocktake.tuning.search_space import load
from stocktake.tuning.study_store import StudyKeeper


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STOCKTAKE_CHECKPOINT_MINUTES", "0.01")
    return tmp_path / "store"


@pytest.mark.long
def test_trials_that_were_done_elsewhere_count(tracked, store, bins_index, write_space, tmp_path):
    space = load(write_space())
    first = search(bins_index, tmp_path / "one", space, trials=1, device="cpu", refit=False)
    shutil.rmtree(tmp_path / "one")
    second = search(bins_index, tmp_path / "two", space, trials=2, device="cpu", refit=False)
    assert second.run_id == first.run_id
    assert second.rows[0] == first.rows[0]
    assert second.rows[1].state in ("complete", "pruned")
    assert [path.name for path in (tmp_path / "two/logs").iterdir()] == ["trial-001.log"]

    # another space is refused in that folder and keeps nothing; another seed begins anew
    known = sorted(path.name for path in (store / "studies").iterdir())
    other = load(write_space(parameters={"lr": {"low": 0.002, "high": 0.01}}))
    with pytest.raises(SettingsError, match="is of another search"):
        search(bins_index, tmp_path / "two", other, trials=1, device="cpu", refit=False)
    assert sorted(path.name for path in (store / "studies").iterdir()) == known
    keeper = StudyKeeper(tmp_path / "three/study.db", {**space.identity, "seed": 1}, minutes=1)
    keeper.fetch()
    assert not keeper.path.exists()


def write_study(path, *values):
    path.parent.mkdir(exist_ok=True)
    writer = sqlite3.connect(path)
    writer.execute("create table trials (value)")
    writer.executemany("insert into trials values (?)", [(value,) for value in values])
    writer.commit()
    return writer


def test_a_study_that_is_being_written_is_copied_as_it_was_before(store, tmp_path):
    keeper = StudyKeeper(tmp_path / "one/study.db", {"study": "a"}, minutes=1)
    writer = write_study(keeper.path, 1)
    writer.execute("insert into trials values (2)")  # not committed
    with keeper.keep():
        pass
    elsewhere = StudyKeeper(tmp_path / "three/study.db", {"study": "a"}, minutes=1)
    elsewhere.fetch()
    copy = sqlite3.connect(elsewhere.path)
    assert copy.execute("select value from trials").fetchall() == [(1,)]
    assert [file.name for file in keeper.path.parent.glob(".to-store*")] == []


def test_nothing_is_kept_unless_it_is_asked_for(store, tmp_path):
    keeper = StudyKeeper(tmp_path / "one/study.db", {"study": "a"}, minutes=None)
    write_study(keeper.path, 1)
    with keeper.keep():
        keeper.fetch()
    assert not store.exists()


def test_a_store_that_fails_costs_a_warning(store, tmp_path, caplog):
    keeper = StudyKeeper(tmp_path / "one/study.db", {"study": "a"}, minutes=1)
    write_study(keeper.path, 1)
    store.write_text("a file where the store's folder should be")
    keeper.put()
    assert "the newest trials are not in the store yet" in caplog.text

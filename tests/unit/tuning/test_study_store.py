"""A search whose machine is lost goes on from the store."""

import shutil
import sqlite3

import pytest

from stocktake.storage import open_store
from stocktake.tuning.optuna_search import search
from stocktake.tuning.search_space import load
from stocktake.tuning.study_store import StudyKeeper, keep_study_in_store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STOCKTAKE_CHECKPOINT_MINUTES", "0.01")
    return tmp_path / "store"


def test_trials_that_were_done_elsewhere_count(tracked, store, bins_index, write_space, tmp_path):
    space = load(write_space())
    first = search(bins_index, tmp_path / "one", space, trials=1, device="cpu", refit=False)
    shutil.rmtree(tmp_path / "one")
    second = search(bins_index, tmp_path / "two", space, trials=2, device="cpu", refit=False)
    assert second.run_id == first.run_id
    assert second.rows[0] == first.rows[0]
    assert second.rows[1].state in ("complete", "pruned")
    assert [path.name for path in (tmp_path / "two/logs").iterdir()] == ["trial-001.log"]


def test_another_search_begins_anew(store, tmp_path):
    with keep_study_in_store(tmp_path / "one/study.db", {"study": "a"}):
        (tmp_path / "one").mkdir()
        sqlite3.connect(tmp_path / "one/study.db").execute("create table trials (value)").connection.commit()
    with keep_study_in_store(tmp_path / "two/study.db", {"study": "b"}):
        assert not (tmp_path / "two/study.db").exists()
    with keep_study_in_store(tmp_path / "three/study.db", {"study": "a"}):
        assert sqlite3.connect(tmp_path / "three/study.db").execute("select * from trials").fetchall() == []


def test_a_study_that_is_being_written_is_copied_as_it_was_before(tmp_path):
    path = tmp_path / "study.db"
    writer = sqlite3.connect(path)
    writer.execute("create table trials (value)")
    writer.execute("insert into trials values (1)")
    writer.commit()
    writer.execute("insert into trials values (2)")  # not committed
    keeper = StudyKeeper(open_store(str(tmp_path / "store")), path)
    keeper.put()
    copy = sqlite3.connect(tmp_path / "store/study.db")
    assert copy.execute("select value from trials").fetchall() == [(1,)]
    assert [file.name for file in tmp_path.glob(".to-store*")] == []


def test_a_store_that_fails_costs_a_warning(tmp_path, caplog):
    path = tmp_path / "study.db"
    sqlite3.connect(path).execute("create table trials (value)").connection.commit()
    (tmp_path / "store").write_text("a file where the store's folder should be")
    StudyKeeper(open_store(str(tmp_path / "store")), path).put()
    assert "the newest trials are not in the store yet" in caplog.text

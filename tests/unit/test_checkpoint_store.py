import threading

import pytest

from stocktake.checkpoint_store import KEPT, CheckpointKeeper, checkpoint_key, keep_in_store
from stocktake.files import atomic_path
from stocktake.run_folder import open_run
from stocktake.storage import open_store

IDENTITY = {"seed": 0, "photos": "a1"}


def read_progress(path):
    return int(path.read_text()), 9


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Where the run's files are kept."""
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STOCKTAKE_CHECKPOINT_MINUTES", "0.001")
    return tmp_path / "store" / checkpoint_key(IDENTITY)


def start(root):
    return open_run(root, "exp", IDENTITY, True, read_progress)


def write(run, epoch, *names):
    for name in names or ("results.csv", "weights/best.pt", "weights/last.pt"):
        with atomic_path(run.path / name) as part:
            part.write_text(str(epoch))


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    pytest.fail("it did not happen within 10 s")


def test_a_run_goes_on_elsewhere_from_what_is_in_the_store(tmp_path, store):
    run = start(tmp_path / "one")
    with keep_in_store(run, IDENTITY):
        write(run, 1)
        wait_for((store / "weights/last.pt").exists)  # while the block runs
        write(run, 2)
    elsewhere = start(tmp_path / "two")
    with keep_in_store(elsewhere, IDENTITY):
        assert elsewhere.progress() == (2, 9)
        assert elsewhere.best.read_text() == "2"
        assert (elsewhere.path / "results.csv").read_text() == "2"


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path, store, monkeypatch):
    monkeypatch.delenv("STOCKTAKE_CHECKPOINT_MINUTES")
    run = start(tmp_path / "one")
    with keep_in_store(run, IDENTITY):
        write(run, 1)
    assert not (tmp_path / "store").exists()


def test_another_run_or_a_fresh_one_begins_anew(tmp_path, store):
    run = start(tmp_path / "one")
    with keep_in_store(run, IDENTITY):
        write(run, 1)
    for root, identity, resume in (("two", {**IDENTITY, "seed": 1}, True), ("three", IDENTITY, False)):
        fresh = start(tmp_path / root)
        with keep_in_store(fresh, identity, resume):
            assert not fresh.last.exists()


def test_a_checkpoint_of_this_folder_is_not_replaced_by_an_older_one(tmp_path, store):
    run = start(tmp_path / "one")
    with keep_in_store(run, IDENTITY):
        write(run, 1)
    write(run, 5)
    with keep_in_store(run, IDENTITY):
        assert run.progress() == (5, 9)
    assert (store / "weights/last.pt").read_text() == "5"


def test_a_failed_run_is_kept_too(tmp_path, store, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CHECKPOINT_MINUTES", "1000")
    run = start(tmp_path / "one")
    write(run, 3)
    with pytest.raises(KeyError), keep_in_store(run, IDENTITY):
        raise KeyError
    assert (store / "weights/last.pt").read_text() == "3"


def test_only_what_has_changed_is_put(tmp_path):
    run = start(tmp_path / "run")
    keeper = CheckpointKeeper(open_store(str(tmp_path / "store")), run.path)
    write(run, 1)
    keeper.put()
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store/weights").iterdir()}
    write(run, 2, "weights/last.pt")
    keeper.put()
    second = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store/weights").iterdir()}
    assert second["best.pt"] == first["best.pt"]
    assert second["last.pt"] > first["last.pt"]
    assert sorted(path.name for path in run.path.iterdir()) == ["results.csv", "run.json", "weights"]


def test_rows_that_are_appended_meanwhile_come_with_the_next_checkpoint(tmp_path):
    run = start(tmp_path / "run")
    keeper = CheckpointKeeper(open_store(str(tmp_path / "store")), run.path)
    write(run, 1)
    versions = keeper._take_snapshot(tmp_path / "snapshot")
    with (run.path / "results.csv").open("a") as file:
        file.write("2")
    assert (tmp_path / "snapshot/results.csv").read_text() == "1"
    assert (tmp_path / "snapshot/weights/last.pt").samefile(run.last)  # no copy of so many bytes
    keeper.stored = versions
    keeper.put()
    assert (tmp_path / "store/results.csv").read_text() == "12"


def test_a_store_that_fails_costs_a_warning_and_gets_everything_later(tmp_path, caplog):
    (tmp_path / "store").write_text("not a folder")
    run = start(tmp_path / "run")
    keeper = CheckpointKeeper(open_store(str(tmp_path / "store")), run.path)
    write(run, 1)
    keeper.put()
    assert "not in the store yet" in caplog.text
    (tmp_path / "store").unlink()
    keeper.put()
    assert (tmp_path / "store/weights/last.pt").read_text() == "1"


def test_the_end_of_a_run_is_told_last():
    assert KEPT[-2:] == ("weights/last.pt", "result.json")

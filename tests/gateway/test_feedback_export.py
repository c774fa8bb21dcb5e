"""Feedback from the records to a feedback index, by the command."""

from datetime import timedelta

import pytest

from serving.gateway.__main__ import main
from serving.gateway.answering import photo_key
from serving.gateway.records import feedback
from serving.gateway.records.database import Records
from serving.gateway.records.feedback import Said
from serving.gateway.records.tables import Photo, Task, now
from stocktake.feedback import read_feedback
from tests.gateway.bay_photos import ONE, answer, new_photo, show


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STOCKTAKE_GATEWAY_DATABASE", "sqlite:///records.db")
    monkeypatch.setenv("STOCKTAKE_GATEWAY_PHOTOS", "photos")
    records = Records("sqlite:///records.db")
    records.migrate()
    yield records
    records.close()


def test_all_that_was_said_is_exported(records, tmp_path, capsys):
    shelf = show(records, 0, ONE, (0.7, 0.8), (0.85, 0.9))
    report = {"count": 3, "probabilities": [], "verdict": "ask", "match_probability": 0.2}
    bin_ = answer(records, new_photo(1, Task.BINS, bay=""), report)
    old = show(records, 2, ONE)
    show(records, 3, ONE)  # nobody says anything
    verdicts = [
        (shelf, Said("void", 0)),
        (shelf, Said("void", 1)),
        (shelf, Said("not_a_void", 1)),
        (shelf, Said("missed", box=(10, 20, 60, 90))),
        (bin_, Said("count", count=4)),
        (old, Said("void", 0)),
    ]
    with records.write() as session:
        for photo, said in verdicts:
            feedback.put(session, photo.id, said, "ann")
        session.get_one(Photo, old.id).expired_at = now() - timedelta(days=1)
    main(["feedback", "--to", "out/feedback.jsonl"])
    assert "out/feedback.jsonl: 2 photos with feedback; left out: 1 whose files" in capsys.readouterr().out
    found = {photo.task: photo for photo in read_feedback("out/feedback.jsonl")}
    shelves, bins = found["shelves"], found["bins"]
    assert [void.verdict for void in shelves.voids] == ["void", "not_a_void", None]
    assert (shelves.missed, shelves.group) == ([(10, 20, 60, 90)], "Mitte/A1")
    assert shelves.uri == f"{tmp_path}/photos/{photo_key(shelf.sha256)}"
    assert (bins.count, bins.counted, bins.group, bins.voids) == (3, 4, bin_.sha256, [])


def test_nothing_was_said(records, capsys):
    main(["feedback", "--to", "feedback.jsonl"])
    assert read_feedback("feedback.jsonl") == []
    assert "0 photos" in capsys.readouterr().out

"""The feedback index, there and back."""

import json

import pytest

from stocktake.errors import DataError, StoreError
from stocktake.feedback import JudgedVoid, LabelledPhoto, read_feedback, write_feedback

VOID = JudgedVoid(
    box=(1, 2, 30, 40), tier=1, position=2, facings=3, confidence=0.8, kind="gap", verdict="void"
)
PHOTO = LabelledPhoto(
    uri="/photos/aa/x", sha256="a" * 64, length=9, width=40, height=50, task="shelves", group="Mitte/A1",
    taken_at="2026-03-02T08:00:00.000Z", model="shelf-detector", model_version="1",
    products=[(0, 0, 9, 9, 0.5)], voids=[VOID], missed=[(5, 5, 9, 9)],
)  # fmt: skip


def test_there_and_back(tmp_path):
    for uri in (f"{tmp_path}/some/feedback.jsonl", f"file://{tmp_path}/feedback.jsonl"):
        assert write_feedback([PHOTO, PHOTO], uri) == 2
        assert read_feedback(uri) == [PHOTO, PHOTO]
    assert write_feedback([], f"{tmp_path}/empty.jsonl") == 0
    assert read_feedback(f"{tmp_path}/empty.jsonl") == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "not a feedback index"),
        (["name,box"], "not a feedback index"),
        (['{"stocktake_feedback": 2}'], "not a feedback index"),
        (['{"stocktake_feedback": 1}', "{"], "line 2"),
        (
            ['{"stocktake_feedback": 1}', PHOTO.model_dump_json(), '{"uri": "x"}'],
            "line 3: sha256",
        ),
        (['{"stocktake_feedback": 1}', json.dumps({"verdict": "secret"})], "line 2"),
    ],
)
def test_what_is_none_is_told(tmp_path, lines, said):
    path = tmp_path / "feedback.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=said) as error:
        read_feedback(str(path))
    assert str(path) in str(error.value)
    assert "secret" not in str(error.value)


def test_there_is_none(tmp_path):
    with pytest.raises(StoreError, match="feedback"):
        read_feedback(f"{tmp_path}/feedback.jsonl")

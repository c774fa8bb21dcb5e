import json

import pytest

from stocktake.cli import main

VERBS = ("draw", "ingest", "prepare", "train", "export", "evaluate", "precisions", "register", "find")


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["shelf", "--help"])

    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n    {verb}" in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_teaches_by_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["shelf", verb, "--help"])

    assert ended.value.code == 0
    assert f"Example: stocktake shelf {verb} " in " ".join(capsys.readouterr().out.split())


def test_draw_ingest_and_prepare(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    photos, ingested, prepared = (tmp_path / name for name in ("photos", "ingested", "prepared"))
    size = ["--width", "240", "--height", "320"]

    assert (
        main(["shelf", "draw", "--out", str(photos), "--train", "2", "--val", "1", "--test", "1", *size]) == 0
    )
    assert main(["shelf", "ingest", str(photos), "--out", str(ingested)]) == 0
    assert main(["shelf", "prepare", str(ingested / "index.parquet"), "--out", str(prepared)]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == str(prepared / "yolo" / "data.yaml")
    assert json.loads((ingested / "report.json").read_text())
    assert len(list((prepared / "yolo" / "images" / "train").iterdir())) == 2
    assert (prepared / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ingest", "nowhere", "--out", "out"], "nowhere"),
        (["prepare", "none.parquet", "--out", "out"], "none.parquet: there is no such index"),
        (["train", "--data", "nowhere", "--img", "417"], "img is 417; it must be a multiple of 32"),
        (["train", "--data", "nowhere", "--epochs", "0"], "epochs is 0"),
        (["draw", "--out", "out", "--difficulty", "insane"], "difficulty is 'insane'"),
        (["find", "none.jpg", "--model", "none"], "none"),
        (["evaluate", "none", "none.parquet", "--out", "out"], "none"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["shelf", *arguments]) == 1

    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1

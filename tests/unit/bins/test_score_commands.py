"""The verbs on model dirs, called as the program calls them."""

import json

import cv2
import pytest

from stocktake.cli import main
from stocktake.model_card import ModelCard
from tests.tiny_counter import draw_bin, write_bins, write_model_dir
from tests.unit.bins.test_export import make_checkpoint

PAIRS = [(k, k) for k in (1, 2, 3, 4, 5)]


@pytest.fixture
def model_dir(tmp_path):
    return write_model_dir(tmp_path / "model")


def write_photo(path, items):
    cv2.imwrite(str(path), draw_bin(items))
    return str(path)


def test_count_prints_a_line_per_photo(model_dir, tmp_path, capsys):
    photos = [write_photo(tmp_path / f"{items}.png", items) for items in (2, 5)]

    assert main(["bins", "count", *photos, "--model", str(model_dir), "--expected-quantity", "2"]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["photo"] for line in lines] == photos
    assert [(line["count"], line["verdict"]) for line in lines] == [(2, "accept"), (5, "reject")]


def test_count_without_a_record_gives_no_verdict(model_dir, tmp_path, capsys):
    assert main(["bins", "count", write_photo(tmp_path / "a.png", 3), "--model", str(model_dir)]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"photo", "count", "classes", "probabilities"}


def test_mistakes_of_count_are_one_line(model_dir, tmp_path, capsys):
    photo = write_photo(tmp_path / "a.png", 3)
    assert main(["bins", "count", photo, "--model", str(model_dir), "--expected-quantity", "-1"]) == 1
    assert "expected_quantity is -1; it must be 0 or more" in capsys.readouterr().err
    (tmp_path / "b.png").write_text("no photo")
    assert main(["bins", "count", str(tmp_path / "b.png"), "--model", str(model_dir)]) == 1
    assert "b.png: 8 bytes that are not" in capsys.readouterr().err


def test_evaluate_then_register(model_dir, tmp_path, tracked, capsys):
    index = str(write_bins(tmp_path / "bins", {"train": PAIRS, "test": PAIRS}))

    assert main(["bins", "evaluate", str(model_dir), index, "--out", str(tmp_path / "scores")]) == 0
    said = capsys.readouterr().out
    assert "Accuracy 1.000" in said
    assert str(tmp_path / "scores" / "report.html") in said

    where = ["--store", str(tmp_path / "store"), "--name", "bins"]
    assert main(["bins", "register", str(model_dir), index, str(tmp_path / "scores"), *where]) == 0
    assert "version 1 promoted against the baseline" in capsys.readouterr().out


@pytest.mark.long
def test_export_chooses_thresholds_on_val(tmp_path, capsys):
    pairs = [(k, k) for k in (1, 2, 5) for _ in range(14)]
    index = str(write_bins(tmp_path / "bins", {"val": pairs}, licence="none"))
    checkpoint, out = make_checkpoint(tmp_path / "best.pt"), tmp_path / "model"

    argv = ["bins", "export", str(checkpoint), "--index", index, "--out", str(out), "--error-rate", "0.1"]
    assert main(argv) == 0

    card = ModelCard.read(out)
    assert card.verification["error_rate"] == 0.1
    assert 0 < card.verification["reject_below"] <= card.verification["accept_above"] < 1
    assert main([*argv[:-1], "1.5"]) == 1
    assert "error_rate is 1.5; it must be over 0 and below 1" in capsys.readouterr().err

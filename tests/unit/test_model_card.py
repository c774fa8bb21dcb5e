import json
import shutil
import subprocess

import pytest

from stocktake.errors import ModelError
from stocktake.model_card import CARD_FILE, MODEL_FILE, SUMS_FILE, ModelCard, verify_sums, write_sums
from tests.tiny_model import card, write_model_dir

FORBIDDEN = {"allowed": False, "reason": "ap50 loses 0.1"}


@pytest.fixture
def model_dir(tmp_path):
    return write_model_dir(tmp_path / "model")


def change_card(model_dir, **fields):
    path = model_dir / CARD_FILE
    known = json.loads(path.read_text())
    known.update(fields)
    path.write_text(json.dumps(known))


def test_card_survives_the_disk(tmp_path):
    written = card(metrics={"detector/ap50": 0.91}, void_settings={"edges": False})
    written.write(tmp_path)

    assert ModelCard.read(tmp_path) == written
    assert json.loads((tmp_path / CARD_FILE).read_text())["schema_version"] == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"task": "sheep-counter"}, "task"),
        ({"schema_version": 2}, "schema_version"),
        ({"score_threshold": 1.5}, "score_threshold"),
        ({"iou_threshold": 0}, "iou_threshold"),
        ({"input_size": "big"}, "input_size"),
        ({"max_detections": 0}, "max_detections"),
        ({"classes": []}, "classes"),
        ({"scores_threshold": 0.5}, "scores_threshold"),
        ({"metrics": {"ap": "good"}}, "metrics.ap"),
        ({"precisions": ["fp32", "int8"]}, "precision_gate"),
        ({"precisions": ["fp32", "int8"], "precision_gate": {"int8": FORBIDDEN}}, "precision_gate"),
    ],
)
def test_bad_card_names_file_and_field(model_dir, fields, named):
    change_card(model_dir, **fields)

    with pytest.raises(ModelError, match=rf"{CARD_FILE}: {named}: "):
        ModelCard.read(model_dir)


def test_card_that_is_no_json(tmp_path):
    (tmp_path / CARD_FILE).write_bytes(b"\xff\xfe{")

    with pytest.raises(ModelError, match=rf"{CARD_FILE}: the file: Invalid JSON"):
        ModelCard.read(tmp_path)


def test_missing_card(tmp_path):
    with pytest.raises(ModelError, match=rf"{CARD_FILE}: there is no such file"):
        ModelCard.read(tmp_path)


def test_digest_depends_on_every_byte_and_on_nothing_else(model_dir, tmp_path):
    copy = shutil.copytree(model_dir, tmp_path / "copy")
    assert write_sums(copy) == verify_sums(copy) == verify_sums(model_dir)

    with (copy / MODEL_FILE).open("ab") as file:
        file.write(b"\0")

    assert write_sums(copy) != verify_sums(model_dir)


def test_sums_are_those_of_sha256sum(model_dir):
    (model_dir / "plots").mkdir()
    (model_dir / "plots" / "curve of pr.png").write_bytes(b"curve")
    (model_dir / ".model.onnx.1a2b3c.part").write_bytes(b"left behind")
    write_sums(model_dir)

    done = subprocess.run(["sha256sum", "-c", SUMS_FILE], cwd=model_dir, capture_output=True, text=True)

    assert done.returncode == 0
    assert done.stdout.splitlines() == ["model.onnx: OK", "model_card.json: OK", "plots/curve of pr.png: OK"]


@pytest.mark.parametrize("name", [MODEL_FILE, CARD_FILE])
def test_changed_and_missing_files_are_named(model_dir, name):
    data = bytearray((model_dir / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model_dir / name).write_bytes(data)
    with pytest.raises(ModelError, match=rf"{name}: its SHA-256 is .*copy the model dir again"):
        verify_sums(model_dir)

    (model_dir / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: there is no such file"):
        verify_sums(model_dir)


def test_sums_must_cover_model_and_card(model_dir):
    path = model_dir / SUMS_FILE
    path.write_text("".join(line for line in path.read_text().splitlines(True) if MODEL_FILE not in line))

    with pytest.raises(ModelError, match=rf"does not list {MODEL_FILE}"):
        verify_sums(model_dir)


@pytest.mark.parametrize(
    "line",
    [
        "not a sum",
        f"{'0' * 63}  model.onnx",
        f"{'G' * 64}  model.onnx",
        f"{'0' * 64} model.onnx",
        f"{'0' * 64}  ../secret",
        f"{'0' * 64}  /etc/passwd",
        f"{'0' * 64}  ",
    ],
)
def test_bad_lines_are_named(model_dir, line):
    with (model_dir / SUMS_FILE).open("a") as file:
        file.write(line + "\n")

    with pytest.raises(ModelError, match=rf"{SUMS_FILE}: line 3 is not"):
        verify_sums(model_dir)


def test_missing_sums(tmp_path):
    with pytest.raises(ModelError, match=rf"{SUMS_FILE}: there is no such file"):
        verify_sums(tmp_path)

"""The evaluation step with feedback: what is scored, reported and handed on is the recalibrated model."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from kfp import dsl

from components.evaluation import evaluate_shelf_detector
from pipelines.catalogue import PIPELINES
from stocktake.errors import DataError, StoreError
from stocktake.feedback import LabelledPhoto, write_feedback
from stocktake.model_card import ModelCard, verify_sums
from stocktake.shelf import recalibration
from stocktake.shelf.detector import ShelfDetector
from tests.cell_photos import shelf_photos, write_index
from tests.tiny_model import write_model_dir

KINDS = {
    "scored": dsl.Model,
    "evaluation": dsl.Artifact,
    "metrics": dsl.Metrics,
    "report": dsl.HTML,
    "card": dsl.Markdown,
}


@pytest.fixture
def shop(tmp_path, monkeypatch, empty_database):
    """A model, an index, and a feedback index in which nothing is ever missing on the lowest board."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recalibration, "LEAST_LABELS", 30)
    model_dir = write_model_dir(tmp_path / "model", void_settings={"min_confidence": 0.05})
    photos = shelf_photos(tmp_path, "val", 28) + shelf_photos(tmp_path, "test", 4)
    index = write_index(tmp_path, photos)
    detector = ShelfDetector.load(model_dir, precision="fp32")
    said = []
    for number, photo in enumerate(photos):
        data = (tmp_path / photo.name).read_bytes()
        voids = detector.detect(data).to_json()["voids"]
        for void in voids:
            void["verdict"] = "not_a_void" if void["tier"] == 1 else "void"
        said.append(
            LabelledPhoto(
                uri=str(tmp_path / photo.name), sha256=hashlib.sha256(data).hexdigest(), length=len(data),
                width=photo.width, height=photo.height, task="shelves", group=f"Mitte/{number % 10}",
                taken_at="2026-03-02T08:00:00.000Z", model="m", model_version="1", voids=voids,
            )
        )  # fmt: skip
    write_feedback(said, str(tmp_path / "feedback.jsonl"))
    return tmp_path, model_dir, index


def evaluate(shop, feedback: str) -> dict[str, dsl.Artifact]:
    folder, model_dir, index = shop
    made = {name: kind(name=name, uri=str(folder / "step" / name)) for name, kind in KINDS.items()}
    (folder / "step").mkdir()
    evaluate_shelf_detector.python_func(
        index=dsl.Dataset(uri=str(index)), model=dsl.Model(uri=str(model_dir)), run_id="",
        model_name="shelf-test", split="test", weights="scratch", size="n", img=64, feedback=feedback, **made,
    )  # fmt: skip
    return made


def test_feedback_recalibrates_what_is_scored_and_handed_on(shop):
    folder, model_dir, _index = shop
    made = evaluate(shop, str(folder / "feedback.jsonl"))
    scored = Path(made["scored"].path)
    weights = ModelCard.read(scored).void_settings["weights"]
    assert ShelfDetector.load(scored).void_settings.weights == weights != {}
    assert ModelCard.read(model_dir).void_settings == {"min_confidence": 0.05}
    metrics = made["metrics"].metadata
    assert metrics["feedback/recalibrated"] == 1.0
    assert metrics["feedback/labels"] >= 40
    assert metrics["feedback/after/log_loss"] < metrics["feedback/before/log_loss"]
    assert metrics["feedback/before/precision"] == 0.5  # of the two boards with voids
    facts = json.loads((Path(made["evaluation"].path) / "facts.json").read_text())
    assert facts["Model digest"] == verify_sums(scored)[:12]
    assert "of 10 bays; left out: none. The confidence was recalibrated." in facts["Feedback"]
    assert "recalibrated, held-out bays" in Path(made["report"].path).read_text()
    assert "recalibrated, held-out bays" in Path(made["card"].path).read_text()


def test_wrong_feedback_is_told_before_anything_runs(shop):
    folder, _model_dir, _index = shop
    shelves = PIPELINES["shelf_detector"]
    given = {"source": str(folder), "weights": "scratch", "model": "n"}
    found = shelves.arguments({**given, "feedback": "feedback.jsonl"})
    assert found["feedback"] == str(folder / "feedback.jsonl")
    (folder / "none.jsonl").write_text("name,box\n")
    with pytest.raises(DataError, match="not a feedback index"):
        shelves.arguments({**given, "feedback": "none.jsonl"})
    with pytest.raises(StoreError, match=r"gone\.jsonl"):
        shelves.arguments({**given, "feedback": "gone.jsonl"})

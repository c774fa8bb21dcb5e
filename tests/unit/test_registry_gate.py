"""When the gate makes a challenger champion, and on what figures."""

import logging
from dataclasses import replace

import mlflow
import numpy as np
import pytest

from stocktake import tracking
from stocktake.dataset import DatasetIndex, Photo
from stocktake.errors import ModelError
from stocktake.registry import champion, fetch_champion, register
from stocktake.registry_gate import gate
from tests.registry_data import figures, index_of

TEST = index_of("a.jpg", "b.jpg")


def test_first_model_that_beats_the_baseline_becomes_champion(tracked, make_model, store):
    version = register(make_model("a"), TEST, figures(0.8, 0.7), store)
    decision = gate(TEST)
    assert decision.promoted
    assert champion() == version
    assert decision.reason.startswith("version 1 promoted against the baseline on 2 photos of drawn:test: ")
    assert "voids/f1_iou30 0.7000 against 0.3000" in decision.reason
    tags = mlflow.MlflowClient().get_model_version("shelf-detector", "1").tags
    assert (tags["gate"], tags["gate.reason"]) == ("promoted", decision.reason)
    page = decision.markdown()
    assert page.startswith("# shelf-detector: promoted\n")
    assert decision.reason in page
    assert "| voids/f1_iou30 | 0.700 | 0.300 |" in page
    assert gate(TEST).promoted  # a step that is retried decides the same


def test_first_model_that_does_not_beat_the_baseline_is_refused(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.8, 0.25), store)
    decision = gate(TEST)
    assert not decision.promoted
    assert "no better than the baseline: voids/f1_iou30 0.2500 against 0.3000" in decision.reason
    with pytest.raises(
        ModelError, match=r"champion: there is no such version; shelf-detector has the versions 1"
    ):
        champion()


def test_champion_stays_until_it_is_beaten(tracked, make_model, store):
    first = register(make_model("a"), TEST, figures(0.8, 0.7), store)
    gate(TEST)
    register(make_model("b"), TEST, figures(0.9, 0.6), store)
    refused = gate(TEST)
    assert (refused.promoted, refused.champion, champion()) == (False, first, first)
    assert "version 2 not promoted against version 1" in refused.reason
    third = register(make_model("c"), TEST, figures(0.8, 0.71), store)
    assert gate(TEST).promoted
    assert champion() == third


def test_figures_from_other_photos_are_not_compared(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.95, 0.95), store)
    gate(TEST)
    harder = index_of("a.jpg", "c.jpg")
    challenger = register(make_model("b"), harder, figures(0.7, 0.7), store)
    with pytest.raises(ModelError, match=r"shelf-detector/1 has no figures of drawn:test .*evaluate it"):
        gate(harder)
    measured = []

    def evaluate(model_dir):
        measured.append((model_dir / "model.onnx").read_bytes())
        return figures(0.6, 0.6)

    with tracking.start_run("promote") as run_id:
        decision = gate(harder, evaluate=evaluate)
    assert decision.promoted
    assert "detector/ap50" not in mlflow.MlflowClient().get_run(run_id).data.metrics  # those of the champion
    assert champion() == challenger
    assert measured == [b"a"]
    assert "0.7000 against 0.6000" in decision.reason


def test_figures_that_other_code_made_are_measured_again(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.95, 0.95), store)
    gate(TEST)
    register(make_model("b"), TEST, figures(0.7, 0.7), store, code="0.0.1-older")
    with pytest.raises(ModelError, match=r"shelf-detector/2 has no figures .* that this code made; evaluate"):
        gate(TEST)
    measured = []

    def evaluate(model_dir):
        measured.append((model_dir / "model.onnx").read_bytes())
        return figures(0.97, 0.97)

    assert gate(TEST, evaluate=evaluate).promoted
    assert measured == [b"b"]
    register(make_model("c"), TEST, figures(0.98, 0.98), store)
    assert gate(TEST, evaluate=evaluate).promoted
    assert measured == [b"b"]  # its new figures are this code's


def test_more_training_photos_do_not_make_other_test_photos(tracked, make_model, store):
    register(make_model("a"), TEST, figures(0.8, 0.7), store)
    extra = Photo("new.jpg", "new.jpg", 1, "1" * 64, 10, 10, "train", "n", np.zeros((0, 4), np.float32))
    grown = DatasetIndex([*TEST.photos, extra], TEST.store, TEST.metadata)
    assert gate(grown).promoted


def test_holdout_voids_stand_in_where_no_voids_are_known(tracked, make_model, store):
    real = {
        "detector/ap50": 0.5,
        "constant/detector/ap50": 0.01,
        "voids_holdout/f1_iou30": 0.8,
        "sliding_box/voids_holdout/f1_iou30": 0.45,
    }
    register(make_model("a"), TEST, real, store)
    assert "voids_holdout/f1_iou30 0.8000 against 0.4500" in gate(TEST).reason


def test_figures_that_are_no_numbers_are_said_and_not_taken_for_zero(tracked, make_model, store, caplog):
    with caplog.at_level(logging.WARNING, "stocktake"):
        register(make_model("a"), TEST, figures(float("nan"), 0.7), store)
    assert "not finite: detector/ap50" in caplog.text
    with pytest.raises(ModelError, match="no metric 'detector/ap50'"):
        gate(TEST)


@pytest.mark.parametrize("split", ["train", "val"])
def test_photos_that_a_model_was_fitted_on_promote_nothing(tracked, make_model, store, split):
    index = DatasetIndex([replace(TEST.photos[0], split=split)], "/photos", {"name": "drawn"})
    register(make_model("a"), index, figures(0.9, 0.9), store, split=split)
    decision = gate(index, split=split)
    assert not decision.promoted
    assert f"version 1 not promoted: it was scored on {split} photos" in decision.reason
    assert fetch_champion("shelf-detector", None) is None
    tags = mlflow.MlflowClient().get_model_version("shelf-detector", "1").tags
    assert (tags["gate"], tags["gate.reason"]) == ("refused", decision.reason)
    assert decision.reason in decision.markdown()


def test_the_last_evaluation_counts(tracked, make_model, store):
    model = make_model("a")
    register(model, TEST, figures(0.8, 0.1), store)
    register(model, TEST, figures(0.8, 0.7), store)
    assert "voids/f1_iou30 0.7000" in gate(TEST).reason

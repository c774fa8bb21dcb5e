import json

import numpy as np
import pytest

from stocktake.bins.counter import BinCounter
from stocktake.errors import ModelError, UnsupportedImage
from stocktake.images import encode_jpeg
from stocktake.model_card import CARD_FILE, MODEL_FILE, write_sums
from tests import tiny_model
from tests.tiny_counter import CLASSES, card, draw_bin, write_model, write_model_dir


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    return BinCounter.load(write_model_dir(tmp_path_factory.mktemp("model")), threads=1)


def png(items):
    import cv2

    return cv2.imencode(".png", draw_bin(items))[1].tobytes()


@pytest.mark.parametrize("items", CLASSES)
def test_it_counts(counter, items):
    report = counter.count(png(items))

    gaps = np.array(CLASSES) - items
    expected = np.exp(-4.0 * gaps**2) / np.exp(-4.0 * gaps**2).sum()
    assert report.count == items
    assert report.classes == CLASSES
    assert report.probabilities == pytest.approx(expected, abs=1e-5)
    assert (report.expected_quantity, report.match_probability, report.verdict) == (None, None, None)


@pytest.mark.parametrize(
    ("items", "record", "verdict"),
    [(3, 3, "accept"), (3, 4, "reject"), (3.5, 3, "ask"), (3.5, 4, "ask"), (3.5, 1, "reject")],
)
def test_records_are_verified_at_the_thresholds_of_the_card(counter, items, record, verdict):
    report = counter.count(png(items), record)

    assert report.expected_quantity == record
    assert report.match_probability == pytest.approx(float(report.probabilities[record - 1]))
    assert report.verdict == verdict


@pytest.mark.parametrize("record", [0, 6, 10_000])
def test_a_record_that_the_model_does_not_know_is_a_question(counter, record):
    report = counter.count(png(3), record)
    assert (report.match_probability, report.verdict) == (0.0, "ask")


def test_the_report_is_plain_json(counter):
    without, with_record = counter.count(png(2)).to_json(), counter.count(png(2), 2).to_json()

    assert json.loads(json.dumps(with_record)) == with_record
    assert set(without) == {"count", "classes", "probabilities"}
    assert without["classes"] == [1, 2, 3, 4, 5]
    assert sum(without["probabilities"]) == pytest.approx(1, abs=3e-4)
    assert with_record == without | {
        "expected_quantity": 2,
        "match_probability": with_record["probabilities"][1],
        "verdict": "accept",
    }


def test_a_batch_is_its_photos_one_by_one(counter):
    tensors = np.stack([counter.decode(png(items)).tensor for items in CLASSES])
    together = counter.infer(tensors)
    alone = np.concatenate([counter.infer(tensor[None]) for tensor in tensors])
    assert together == pytest.approx(alone, abs=1e-6)


def test_a_wide_photo_is_padded_not_cut(counter):
    decoded = counter.decode(encode_jpeg(draw_bin(5, width=200, height=100)))
    assert decoded.tensor.shape == (64, 64, 3)
    assert decoded.tensor[0, 0].tolist() == [114] * 3
    assert decoded.tensor[32, 0].tolist() == pytest.approx([250] * 3, abs=2)


def test_bytes_that_are_no_photo(counter):
    with pytest.raises(UnsupportedImage):
        counter.count(b"no photo")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["one", "two"]}, "classes: expected counts in rising order"),
        ({"classes": ["2", "1"]}, "classes: expected counts in rising order"),
        ({"classes": ["1"]}, "classes: expected counts in rising order"),
        ({"classes": ["1", "2"]}, r"by its card they should be \{'probabilities': \(2, 2\)\}"),
        ({"verification": {"accept_above": 1.5}}, "verification.accept_above: "),
        ({"verification": {"accept_above": 0.2, "reject_below": 0.4}}, "reject_below 0.4 is over"),
        ({"verification": {"kumquat": 1}}, "verification.kumquat: "),
    ],
)
def test_a_card_that_does_not_fit_is_named(tmp_path, fields, message):
    write_model(tmp_path / MODEL_FILE)
    card(**fields).write(tmp_path)
    write_sums(tmp_path)
    with pytest.raises(ModelError, match=message):
        BinCounter.load(tmp_path)


def test_a_shelf_detector_is_refused(tmp_path):
    model_dir = tiny_model.write_model_dir(tmp_path)
    with pytest.raises(ModelError, match=f"{CARD_FILE}: task is shelf-detector, not bin-counter; give a bin"):
        BinCounter.load(model_dir)


def test_outputs_that_are_no_probabilities_are_refused(tmp_path):
    import onnx
    from onnx import helper

    model_dir = write_model_dir(tmp_path)
    model = onnx.load(model_dir / MODEL_FILE)
    del model.graph.node[-1]
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["probabilities"]))
    onnx.save(model, model_dir / MODEL_FILE)
    write_sums(model_dir)
    with pytest.raises(ModelError, match="its probabilities sum to"):
        BinCounter.load(model_dir)

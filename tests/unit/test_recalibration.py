"""Void confidence that learns from people: on made-up labels, and on photos that are drawn and judged."""

import hashlib

import numpy as np
import pytest
from scipy.optimize import minimize

from stocktake.boxes import iou_matrix
from stocktake.errors import ModelError
from stocktake.feedback import LabelledPhoto, write_feedback
from stocktake.model_card import ModelCard, verify_sums
from stocktake.shelf import recalibration
from stocktake.shelf.confidence import PHOTO_WEIGHTS
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.recalibration import fit, folds, held_out, learn, recalibrate
from stocktake.shelf.void_labels import NAMES, VoidLabels, collect_labels
from tests.cell_photos import shelf_photos, write_index
from tests.tiny_model import write_model_dir

START = np.array([PHOTO_WEIGHTS[name] for name in NAMES])


def made_up(count: int, true: np.ndarray, seed: int = 0, bays: int = 20) -> VoidLabels:
    """Labels that people would give if `true` (k,) were the right weights."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (count, len(NAMES)))
    features[:, NAMES.index("one")] = 1
    is_void = rng.random(count) < 1 / (1 + np.exp(-features @ true))
    group = np.array([f"Mitte/{number % bays}" for number in range(count)])
    return VoidLabels(features, is_void, group, {})


def test_the_fit_is_that_of_a_known_optimizer():
    labels = made_up(200, START + 1)

    def loss(weights):
        score = labels.features @ weights
        return (
            np.logaddexp(0, score).sum()
            - score[labels.is_void].sum()
            + recalibration.PULL * ((weights - START) ** 2).sum()
        )

    found = fit(labels.features, labels.is_void, START)
    assert found == pytest.approx(minimize(loss, START, method="BFGS", options={"gtol": 1e-7}).x, abs=1e-3)


def test_no_labels_move_nothing_and_many_find_the_truth():
    none = made_up(0, START)
    assert fit(none.features, none.is_void, START) == pytest.approx(START)
    true = START * 0.5
    assert fit(*_both(made_up(20_000, true)), START) == pytest.approx(true, abs=0.25)


def _both(labels: VoidLabels):
    return labels.features, labels.is_void


def test_a_bay_is_never_on_both_sides(monkeypatch):
    labels = made_up(300, START, bays=17)
    parts = folds(labels.group)
    assert sorted(name for part in parts for name in part) == sorted(set(labels.group.tolist()))
    sizes = [int(np.isin(labels.group, list(part)).sum()) for part in parts]
    assert max(sizes) - min(sizes) <= 300 / 17 + 1
    whole = fit(labels.features, labels.is_void, START)
    assert held_out(labels, START) != pytest.approx(1 / (1 + np.exp(-labels.features @ whole)), abs=1e-3)


def test_confidence_that_was_wrong_gets_better_on_bays_it_has_not_seen():
    wrong = START.copy()
    wrong[NAMES.index("one")] += 3  # shops look other than drawn shelves: far too many alarms
    done = learn(made_up(400, START), dict(zip(NAMES, wrong, strict=True)), 0.6, "here")
    assert done.weights.keys() == set(NAMES)
    assert done.before.precision + 0.1 < done.after.precision
    assert done.after.log_loss < done.before.log_loss
    assert done.weights["one"] < wrong[NAMES.index("one")] - 1
    assert (done.labels, done.bays, "recalibrated" in done.reason) == (400, 20, True)
    assert done.metrics()["feedback/recalibrated"] == 1.0
    assert [row["judged"] for row in done.rows()] == [400, 400]


@pytest.mark.parametrize("seed", range(8))
def test_confidence_that_is_right_stays(seed):
    done = learn(made_up(60, START, seed), PHOTO_WEIGHTS, 0.6, "here")
    assert done.weights == {}
    assert "not surely better" in done.reason
    assert done.before.precision > 0


@pytest.mark.parametrize(
    ("count", "bays", "kind"), [(39, 20, None), (100, 4, None), (100, 20, True), (100, 20, False)]
)
def test_too_few_labels_change_nothing_and_say_so(count, bays, kind):
    labels = made_up(count, START, bays=bays)
    if kind is not None:
        labels = VoidLabels(labels.features, np.full(count, kind), labels.group, {"photo cannot be read": 2})
    done = learn(labels, PHOTO_WEIGHTS, 0.6, "here")
    assert (done.weights, done.before, done.after) == ({}, None, None)
    assert "Too few" in done.describe()
    assert done.metrics() == {"feedback/labels": float(count), "feedback/recalibrated": 0.0}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model dir, an index, and photos whose every void a person has judged."""
    folder = tmp_path_factory.mktemp("shop")
    model_dir = write_model_dir(folder / "model", void_settings={"min_confidence": 0.05})
    photos = shelf_photos(folder, "val", 24)
    index = write_index(folder, photos)
    detector = ShelfDetector.load(model_dir, precision="fp32")
    said = []
    for number, photo in enumerate(photos):
        data = (folder / photo.name).read_bytes()
        report = detector.detect(data).to_json()
        known = np.array([void.box for void in photo.voids], np.float32).reshape(-1, 4)
        for void in report["voids"]:
            overlap = iou_matrix(np.array([void["box"]], np.float32), known)
            void["verdict"] = "void" if (overlap > 0.3).any() else "not_a_void"
        said.append(
            LabelledPhoto(
                uri=str(folder / photo.name), sha256=hashlib.sha256(data).hexdigest(), length=len(data),
                width=photo.width, height=photo.height, task="shelves", group=f"Mitte/{number}",
                taken_at="2026-03-02T08:00:00.000Z", model="m", model_version="1", voids=report["voids"],
            )
        )  # fmt: skip
    return folder, model_dir, index, said


def test_labels_are_the_gaps_of_the_model(shop):
    _folder, model_dir, _index, said = shop
    detector = ShelfDetector.load(model_dir, precision="fp32")
    labels = collect_labels(detector, said)
    judged = [void for photo in said for void in photo.voids if void.kind != "low_stock"]
    assert len(labels) == len(judged) > 20
    assert labels.is_void.sum() == sum(void.verdict == "void" for void in judged)
    told = 1 / (1 + np.exp(-labels.features @ START))
    assert sorted(told) == pytest.approx(sorted(void.confidence for void in judged), abs=0.01)


def test_labels_that_teach_nothing_are_counted(shop, tmp_path):
    _folder, model_dir, _index, said = shop
    detector = ShelfDetector.load(model_dir, precision="fp32")
    one = next(photo for photo in said if photo.voids)
    (tmp_path / "text.jpg").write_text("no photo")
    text = hashlib.sha256(b"no photo").hexdigest()
    changes = [
        {"uri": str(tmp_path / "gone.jpg")},
        {"sha256": "0" * 64},
        {"uri": str(tmp_path / "text.jpg"), "sha256": text},
        {"voids": [], "missed": [(1, 1, 3, 3)]},
        {"voids": [void.model_copy(update={"verdict": None}) for void in one.voids]},
    ]
    labels = collect_labels(detector, [one.model_copy(update=change) for change in changes])
    count = len(one.voids)
    assert len(labels) == 0
    assert labels.left_out == {
        "photo cannot be read": 2 * count,
        "photo cannot be decoded": count,
        "no such gap for this model": 1,
    }


def test_a_model_dir_is_recalibrated_and_served_so(shop, tmp_path, monkeypatch):
    _folder, model_dir, index, said = shop
    monkeypatch.setattr(recalibration, "LEAST_LABELS", 10)
    monkeypatch.setattr(recalibration, "LEAST_EACH", 1)
    uri = f"{tmp_path}/feedback.jsonl"
    turned = [  # people say that on the lowest board nothing is ever missing
        photo.model_copy(
            update={
                "voids": [
                    void.model_copy(update={"verdict": "not_a_void" if void.tier == 1 else "void"})
                    for void in photo.voids
                ]
            }
        )
        for photo in said
    ]
    write_feedback(turned, uri)
    before = verify_sums(model_dir)
    done = recalibrate(model_dir, tmp_path / "out", uri, index)
    assert done.weights, done.describe()
    assert verify_sums(model_dir) == before != verify_sums(tmp_path / "out")
    served = ShelfDetector.load(tmp_path / "out").void_settings
    assert served.weights == done.weights
    data = (_folder / said[1].uri.rpartition("/")[2]).read_bytes()
    ours, theirs = (
        ShelfDetector.load(folder, precision="fp32").detect(data) for folder in (model_dir, tmp_path / "out")
    )
    assert [void.confidence for void in ours.voids] != [void.confidence for void in theirs.voids]


def test_without_feedback_a_model_dir_is_copied(shop, tmp_path):
    _folder, model_dir, index, _said = shop
    assert recalibrate(model_dir, tmp_path / "out", "", index) is None
    assert verify_sums(tmp_path / "out") == verify_sums(model_dir)


def test_a_card_with_an_unknown_weight_is_refused(tmp_path):
    model_dir = write_model_dir(tmp_path / "model", void_settings={"weights": {"colour": 1.0}})
    with pytest.raises(ModelError, match="no such weight: colour"):
        ShelfDetector.load(model_dir)
    assert ModelCard.read(model_dir).void_settings["weights"]

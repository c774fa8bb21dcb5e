"""A counter whose answers are known, scored end to end; figures are worked out from what photos show."""

import json
import re
from dataclasses import replace

import mlflow
import numpy as np
import pytest

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.evaluation import evaluate
from stocktake.bins.precisions import infer_all
from stocktake.bins.thresholds import set_thresholds
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import DataError, ModelError
from stocktake.images import encode_jpeg
from stocktake.model_card import ModelCard, verify_sums
from tests.tiny_counter import write_bins, write_model_dir

# items to be seen, items recorded: right, right, one too few, sure of 5 where there is 1, in doubt
TEST = [(1, 1), (2, 2), (3, 4), (5, 1), (2.45, 2), (4, 4), (3, 3), (5, 5)]
TRAIN = [(2, 2)] * 5 + [(4, 4)] * 3


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model_dir(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def index_path(tmp_path_factory):
    photos = {"train": TRAIN, "val": [(k, k) for k in (1, 2, 3, 4, 5) for _ in range(12)], "test": TEST}
    return write_bins(tmp_path_factory.mktemp("bins"), photos, left_out={"no_quantity": 2}, selection="all")


@pytest.fixture(scope="module")
def evaluated(model_dir, index_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    return evaluate(model_dir, index_path, folder, before=model_dir, progress=False)


def test_counting_errors_by_hand(evaluated):
    metrics = evaluated.metrics
    assert metrics["count/accuracy"] == pytest.approx(6 / 8)
    assert metrics["count/rmse"] == pytest.approx(np.sqrt((1 + 16) / 8))
    assert metrics["count/mae"] == pytest.approx(5 / 8)
    assert metrics["count/within_one"] == pytest.approx(7 / 8)
    assert (metrics["data/photos"], metrics["data/groups"]) == (8, 4)
    assert metrics["class_1/accuracy"] == pytest.approx(0.5)
    assert metrics["class_1/rmse"] == pytest.approx(np.sqrt(8))
    assert metrics["class_4/mae"] == pytest.approx(0.5)
    assert metrics["before/count/accuracy"] == metrics["count/accuracy"]


def test_baselines_do_not_look(evaluated):
    """Always 3, and always 2, which is most frequent in train."""
    metrics = evaluated.metrics
    assert metrics["constant/count/accuracy"] == pytest.approx(1 / 8)
    assert metrics["constant/count/rmse"] == pytest.approx(np.sqrt((4 + 1 + 1 + 4 + 1 + 1 + 0 + 4) / 8))
    assert metrics["prior/count/accuracy"] == pytest.approx(2 / 8)
    assert metrics["prior/probability/nll"] > metrics["probability/nll"]
    assert "blobs/count/accuracy" in metrics


def test_the_same_figures_come_from_the_served_answers(evaluated, model_dir, index_path):
    counter, index = BinCounter.load(model_dir), DatasetIndex.read(index_path)
    photos = index.split("test")
    right = [counter.count(read_photo_bytes(index, photo), photo.quantity) for photo in photos]
    correct = [report.count == photo.quantity for report, photo in zip(right, photos, strict=True)]
    assert evaluated.metrics["count/accuracy"] == pytest.approx(np.mean(correct))
    nll = -np.log([max(report.match_probability, 1e-7) for report in right]).mean()
    assert evaluated.metrics["probability/nll"] == pytest.approx(nll, rel=1e-4)
    for verdict in ("accept", "reject", "ask"):
        share = np.mean([report.verdict == verdict for report in right])
        assert evaluated.metrics[f"verification/right_{verdict}ed"] == pytest.approx(share)


def test_a_photo_of_any_shape_is_seen_as_it_is_served(model_dir, index_path):
    """Rows of light and dark that decoding or shrinking in another way would turn into another brightness."""
    pixels = np.zeros((413, 267, 3), np.uint8)
    pixels[::7] = 250
    data, counter = encode_jpeg(pixels), BinCounter.load(model_dir)
    photo = replace(DatasetIndex.read(index_path).photos[0], width=267, height=413)

    assert counter.decode(data).photo.reduction == 2
    assert (infer_all({"ours": counter}, photo, data)["ours"] == counter.count(data).probabilities).all()
    with pytest.raises(DataError, match="267x413 px, the index says 267x414"):
        infer_all({"ours": counter}, replace(photo, height=414), data)


def test_wrong_records_get_a_verdict_each(evaluated, model_dir, index_path):
    counter, index = BinCounter.load(model_dir), DatasetIndex.read(index_path)
    accepted = 0.0
    for photo in index.split("test"):
        others = [count for count in counter.classes if count != photo.quantity]
        near = [count for count in others if abs(count - photo.quantity) == 1]
        for count in others:
            weight = 0.5 / 4 + (0.5 / len(near) if count in near else 0)
            report = counter.count(read_photo_bytes(index, photo), count)
            accepted += weight * (report.verdict == "accept")
    assert evaluated.metrics["verification/wrong_accepted"] == pytest.approx(accepted / 8)
    assert accepted > 0


def test_intervals_hold_the_figure(evaluated):
    metrics = evaluated.metrics
    for name in ("accuracy", "rmse", "mae", "within_one"):
        low, high = metrics[f"count/{name}_low"], metrics[f"count/{name}_high"]
        assert low <= metrics[f"count/{name}"] <= high
        assert low < high


def test_metrics_are_safe_for_mlflow_and_json(evaluated):
    stored = json.loads(evaluated.report.with_name("metrics.json").read_text())
    assert stored == evaluated.metrics
    assert all(re.fullmatch(r"[\w\-. :/]+", name) for name in stored)
    assert all(isinstance(value, float) and np.isfinite(value) for value in stored.values())


def test_reports_say_on_what_data_and_show_photos(evaluated):
    for text in (evaluated.report.read_text("utf-8"), evaluated.summary.read_text("utf-8")):
        for fact in (
            "bins",
            "all, 2 left out (no quantity 2)",
            "64 px",
            "always the middle count",
            "half off by one",
        ):
            assert fact in text
        assert str(evaluated.facts["Data digest"]) in text
    names = {path.stem for path in (evaluated.report.parent / "photos").iterdir()}
    assert names == {"worst-1", "worst-2", *(f"unsure-{rank}" for rank in range(1, 7))}
    page = evaluated.report.read_text("utf-8")
    assert page.count("data:image/") == 3 + 8
    assert "Worst 1: test_003.png, recorded 1, counted 5 (4: 0.02, 5: 0.98)" in page
    assert "Unsure 1: test_004.png, recorded 2, counted 2 (2: 0.58, 3: 0.42)" in page


def test_the_same_photos_give_the_same_metrics(evaluated, model_dir, index_path, tmp_path):
    again = evaluate(model_dir, index_path, tmp_path, before=model_dir, workers=1, progress=False)
    assert again.metrics == evaluated.metrics


def test_a_champion_may_have_other_classes_and_another_size(model_dir, index_path, tmp_path):
    champion = write_model_dir(tmp_path / "champion", classes=["0", "2", "4"])
    metrics = evaluate(model_dir, index_path, tmp_path / "out", champion=champion, progress=False).metrics
    assert metrics["champion/count/accuracy"] == pytest.approx(3 / 8)  # both 2s and the 4 that is seen
    assert np.isfinite(metrics["champion/probability/nll"])


def test_figures_of_val_photos_come_with_a_warning(model_dir, index_path, tmp_path, caplog):
    result = evaluate(model_dir, index_path, tmp_path, split="val", progress=False)
    assert "Thresholds were chosen on these photos" in caplog.text
    assert "Thresholds were chosen on these photos" in result.report.read_text("utf-8")


@pytest.mark.parametrize(
    ("quantity", "message"),
    [(None, "test_000.png has no quantity"), (7, "has the quantity 7, the model counts")],
)
def test_photos_that_the_model_cannot_be_right_about(model_dir, tmp_path, quantity, message):
    index_path = write_bins(tmp_path / "bins", {"test": [(1, quantity)]})
    with pytest.raises(DataError, match=message):
        evaluate(model_dir, index_path, tmp_path / "out", progress=False)


def test_an_empty_split_is_an_error(model_dir, tmp_path):
    index_path = write_bins(tmp_path / "bins", {"train": TRAIN})
    with pytest.raises(DataError, match="no photo in split test"):
        evaluate(model_dir, index_path, tmp_path / "out", progress=False)


def test_a_photo_that_was_swapped_is_an_error(model_dir, tmp_path):
    index_path = write_bins(tmp_path / "bins", {"test": TEST})
    (tmp_path / "bins" / "test_002.png").write_bytes(b"other")
    with pytest.raises(DataError, match=r"test_002\.png was changed since it was ingested"):
        evaluate(model_dir, index_path, tmp_path / "out", progress=False)


def test_an_open_run_gets_all_of_it(tracked, model_dir, index_path, tmp_path):
    with tracking.start_run("evaluate", "bin-counter") as run_id:
        result = evaluate(model_dir, index_path, tmp_path, progress=False)

    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    assert run.data.metrics["count/accuracy"] == result.metrics["count/accuracy"]
    found = {
        item.path
        for folder in ("", "tables", "plots", "photos")
        for item in client.list_artifacts(run_id, folder)
    }
    for path in ("report.html", "tables/counters.json", "tables/verification.json", "plots/confusion.png",
                 "plots/calibration.png", "plots/verification.png", "photos/worst-1.png"):  # fmt: skip
        assert path in found


def test_thresholds_go_to_the_card_and_hold_on_val(model_dir, index_path, tmp_path):
    mine = write_model_dir(tmp_path / "model", sharpness=2.0)
    before = verify_sums(mine)

    digest = set_thresholds(mine, index_path, error_rate=0.1)

    assert digest == verify_sums(mine) != before
    chosen = BinCounter.load(mine).verification
    card = ModelCard.read(mine)
    assert card.verification == chosen.model_dump()
    assert card.reference.keys() == {"brightness", "sharpness", "count", "probability"}
    assert chosen.error_rate == 0.1
    metrics = evaluate(mine, index_path, tmp_path / "out", split="val", progress=False).metrics
    assert metrics["verification/wrong_accepted"] <= 0.1
    assert metrics["verification/right_rejected"] <= 0.1
    assert metrics["verification/right_accepted"] == 1.0


def test_too_few_photos_promise_nothing(model_dir, index_path, tmp_path, caplog):
    mine = write_model_dir(tmp_path / "model")
    few = write_bins(tmp_path / "bins", {"val": [(k, k) for k in (1, 2, 3, 4, 5)]})

    set_thresholds(mine, few)

    assert "3 groups of photos, too few to promise at most 0.05 wrong accepts" in caplog.text
    chosen = BinCounter.load(mine).verification
    assert (chosen.accept_above, chosen.reject_below) == (1.0, 0.0)


def test_a_shelf_detector_is_refused(index_path, tmp_path):
    from tests.tiny_model import write_model_dir as write_detector

    with pytest.raises(ModelError, match="task is shelf-detector, not bin-counter"):
        evaluate(write_detector(tmp_path / "model"), index_path, tmp_path / "out", progress=False)

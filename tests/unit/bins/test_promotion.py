"""Two bin counters, one better than the other, through evaluation, registry and gate."""

import mlflow
import pytest

from stocktake.bins.evaluation import evaluate
from stocktake.promotion import promote
from tests.tiny_counter import write_bins, write_model_dir

TEST = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (3.4, 3), (2.45, 2), (4.6, 5)] * 2


@pytest.fixture
def index_path(tmp_path, tracked, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))
    return write_bins(tmp_path / "bins", {"train": [(2, 2)], "test": TEST})


def score(model_dir, index_path):
    evaluate(model_dir, index_path, model_dir.parent / f"{model_dir.name}-scored", progress=False)
    return promote(model_dir, index_path, model_dir.parent / f"{model_dir.name}-scored")


def test_a_first_counter_must_beat_those_that_do_not_look(index_path, tmp_path):
    decision = score(write_model_dir(tmp_path / "good"), index_path)

    assert decision.promoted
    assert decision.challenger.task == "bin-counter"
    assert "count/accuracy 1.0000 against 0.2500" in decision.reason
    verdicts = {row.metric: row.verdict for row in decision.comparison.rows}
    assert verdicts == {
        "count/accuracy": "better",
        "count/rmse": "better",
        "verification/right_accepted_at_error": "no reference",
    }
    names = [experiment.name for experiment in mlflow.MlflowClient().search_experiments()]
    assert "bin-counter" in names
    assert "shelf-detector" not in names


def test_a_worse_counter_does_not_replace_the_champion(index_path, tmp_path):
    assert score(write_model_dir(tmp_path / "good"), index_path).promoted
    blurred = write_model_dir(tmp_path / "bad", classes=["2", "3", "4", "5", "6"])
    # what it calls 2 is 1: it counts one too many
    from stocktake.model_card import ModelCard, write_sums

    ModelCard.read(blurred).model_copy(update={"classes": ["1", "2", "3", "4", "5"]}).write(blurred)
    write_sums(blurred)

    decision = score(blurred, index_path)

    assert not decision.promoted
    assert "count/rmse" in decision.reason
    assert decision.champion.version == 1

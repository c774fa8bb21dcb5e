"""What Katib has found becomes the settings of a training; statuses are made with Katib's own types."""

import json
from pathlib import Path
from typing import Any

import pytest
from kubeflow_katib_api.models import V1beta1Experiment

from stocktake.cli import main
from stocktake.errors import SettingsError
from stocktake.model_card import ModelCard
from stocktake.tuning.katib import experiment
from stocktake.tuning.katib_job import TrialPod
from stocktake.tuning.katib_result import best_values
from stocktake.tuning.search_space import load

SEARCHED = {
    "lr": {"low": 0.001, "high": 0.01},
    "batch_size": {"choices": [8, 16]},
    "epochs": {"low": 1, "high": 3},
}
FIXED = {"weights": "none", "img": 32, "test_batch_size": 8}
BEST = {"lr": "0.0012500000000000002", "batch_size": "16", "epochs": "2"}
POD = TrialPod(image="registry.example.org/stocktake-train@sha256:" + "0" * 64)


@pytest.fixture
def space_path(write_space) -> Path:
    return write_space(parameters=SEARCHED, fixed=FIXED, refit={"epochs": 1})


@pytest.fixture
def write_found(space_path, tmp_path):
    """Write an experiment as kubectl shows it, whose best trial had these parameters."""

    def write(best: dict[str, str] | None, condition: str = "Succeeded") -> Path:
        status: dict[str, Any] = {"conditions": [{"type": "Created", "status": "True"}]}
        status["conditions"].append({"type": condition, "status": "True"})
        if best:
            assignments = [{"name": name, "value": value} for name, value in best.items()]
            metrics = [{"name": "val/loss", "latest": "0.4", "min": "0.3", "max": "0.9"}]
            status["currentOptimalTrial"] = {
                "bestTrialName": "bins-x7k2",
                "parameterAssignments": assignments,
                "observation": {"metrics": metrics},
            }
        made = experiment(load(space_path), POD) | {"status": status}
        assert V1beta1Experiment.from_dict(made).to_dict()["status"] == status
        path = tmp_path / "found.json"
        path.write_text(json.dumps(made))
        return path

    return write


def test_the_best_has_the_types_of_the_settings(space_path, write_found):
    values = best_values(write_found(BEST), load(space_path))
    assert values == {"lr": pytest.approx(0.00125), "batch_size": 16, "epochs": 2}
    assert [type(values[name]) for name in BEST] == [float, int, int]


@pytest.mark.long
def test_it_is_trained_as_the_space_wants_the_last_training(
    space_path, write_found, bins_index, tmp_path, capsys
):
    places = ["--data", str(bins_index), "--project", str(tmp_path / "runs"), "--device", "cpu"]
    found = str(write_found(BEST))
    assert main(["bins", "search", *places, "--space", str(space_path), "--best-of", found]) == 0
    said = capsys.readouterr().out
    assert "best: lr 0.00125" in said
    card = ModelCard.read(tmp_path / "runs/bins/model")
    assert card.name.endswith("1 epochs")  # of `refit`, not the trial's 2
    assert f"refit val/loss {card.metrics['val/loss']:.4g}" in said


@pytest.mark.parametrize(
    ("best", "message"),
    [
        (None, r"no trial of it has succeeded \(Failed\); look at `kubectl get trials -l katib"),
        ({"lr": "0.002"}, "searched lr, but the space searches batch_size, epochs, lr; give the --space"),
        ({**BEST, "lr": "0.5"}, r"lr is '0\.5', which the space does not hold \(\[0\.001, 0\.01\]\)"),
        ({**BEST, "batch_size": "32"}, r"batch_size is '32', which the space does not hold \(\[8, 16\]\)"),
        ({**BEST, "epochs": "two"}, "epochs is 'two'"),
    ],
)
def test_what_is_no_result_of_the_space(space_path, write_found, best, message):
    with pytest.raises(SettingsError, match=message):
        best_values(write_found(best, "Failed"), load(space_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "holds a list"), ('{"kind": "List"}', "holds a List, not one Experiment")],
)
def test_what_is_no_experiment(space_path, tmp_path, text, message):
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"found\.json: {message}"):
        best_values(path, load(space_path))


def test_writing_and_reading_at_once_is_refused(bins_index, tmp_path, capsys):
    files = ["--katib", str(tmp_path / "a.yaml"), "--best-of", str(tmp_path / "b.json")]
    assert main(["bins", "search", "--data", str(bins_index), *files]) == 1
    assert "give one of them" in capsys.readouterr().err

"""YOLOv5 under the training rules: a real training of a few steps on small drawn photos."""

import json

import pytest

from stocktake.monitoring.monitor import MonitorSettings, TrainingMonitor
from stocktake.monitoring.run_files import RECORDING_FILE
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import TrainResult, train
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset

pytestmark = pytest.mark.long

STEPS = 8  # of an epoch
SETTINGS = TrainSettings(weights="scratch", model="n", epochs=30, img=64, batch=2, hyp="quick", device="cpu")
# the published rule of weights to start from fires on any real network
MONITOR = MonitorSettings(
    "seed", ("PoorWeightInitialization",), every=2, sample_hz=50, trace_at=12, trace_steps=1
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingMonitor, TrainResult, list[int]]:
    folder = tmp_path_factory.mktemp("shelves")
    drawing = DrawSettings(width=256, height=256, tiers=(2, 3), bays=(1, 1), voids=(0, 1), landscape=0)
    write_dataset(folder / "photos", {"train": 2 * STEPS, "val": 2}, drawing, workers=1, progress=False)
    ingest(str(folder / "photos"), folder / "index", progress=False)
    monitor = TrainingMonitor(MONITOR)
    epochs: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCKTAKE_CACHE", str(folder / "cache"))
        result = train(
            folder / "index/index.parquet",
            folder / "model",
            SETTINGS,
            folder / "runs",
            on_epoch=lambda _, epoch: epochs.append(epoch),
            monitor=monitor,
        )
    return monitor, result, epochs


def test_a_rule_ends_the_training_which_keeps_what_it_has_learnt(watched) -> None:
    _, result, epochs = watched
    assert epochs == [1, 2]  # ten steps are enough for the rule
    assert result.epochs == 2
    assert (result.model_dir / "model.onnx").is_file()


def test_steps_losses_and_gradients_are_those_of_the_training(watched) -> None:
    seen = watched[0].recording
    assert list(seen.steps.step) == list(range(2 * STEPS))
    assert min(seen.steps.loss) > 0
    assert list(seen.gradients.step) == list(range(0, 2 * STEPS, 2))
    assert len(seen.gradients.names) == len(set(seen.gradients.names)) > 200
    assert sum(seen.gradients.is_weight) == len(seen.first_steps.layers) == 75
    assert seen.optimizer
    assert seen.loader_workers is not None


def test_epochs_have_losses_and_phases(watched) -> None:
    epochs = watched[0].recording.epochs
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert all(epoch.train and epoch.val for epoch in epochs)
    assert list(epochs[1].phases) == [
        "data wait", "forward", "backward", "optimizer", "monitor", "other",
    ]  # fmt: skip
    assert watched[0].recording.traced_steps == 1
    assert any("convolution" in row.name for row in watched[0].recording.operators)


def test_answers_stay_with_the_run(watched) -> None:
    _, result, _ = watched
    assert "PoorWeightInitialization: IssuesFound" in result.rules
    assert (result.run_dir / RECORDING_FILE).is_file()
    rules = json.loads((result.run_dir / "rules/rules.json").read_text())
    assert rules["summary"] == result.rules

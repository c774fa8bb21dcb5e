from dataclasses import replace

from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import ultralytics_arguments
from tests.small_training import SETTINGS


class TestArguments:
    def test_the_flags_of_yolov5_arrive(self) -> None:
        settings = TrainSettings(
            batch=-1, epochs=3, img=416, cache="ram", freeze=10, hyp="med", seed=7, device="0"
        )
        found = ultralytics_arguments(settings)
        expected = {
            "batch": -1,
            "epochs": 3,
            "imgsz": 416,
            "cache": "ram",
            "freeze": 10,
            "seed": 7,
            "device": "0",
        }
        assert found.items() >= expected.items()
        assert found["scale"] == 0.7
        assert found["amp"] is True
        assert found["deterministic"] is True

    def test_single_values_override_the_file(self) -> None:
        found = ultralytics_arguments(replace(SETTINGS, lr0=0.5, optimizer="AdamW"))
        assert (found["lr0"], found["optimizer"]) == (0.5, "AdamW")

    def test_a_step_per_batch_where_the_file_says_so(self) -> None:
        assert ultralytics_arguments(replace(SETTINGS, batch=4))["nbs"] == 4
        assert "nbs" not in ultralytics_arguments(replace(SETTINGS, hyp="low"))

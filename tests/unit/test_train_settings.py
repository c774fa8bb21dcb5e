from typing import Any

import pytest

from stocktake.devices import gpu_devices
from stocktake.errors import SettingsError
from stocktake.shelf.train_settings import TrainSettings


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"epochs": True}, "epochs is True"),
        ({"hours": 0}, "hours is 0"),
        ({"hours": float("nan")}, "hours is nan"),
        ({"img": 400}, "try 384 or 416"),
        ({"img": 16}, "img is 16"),
        ({"img": 100_000}, "img is 100000"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": -2}, "batch is -2"),
        ({"cache": "tape"}, "cache is 'tape'"),
        ({"freeze": 25}, "freeze is 25"),
        ({"model": "xl"}, "model is 'xl'"),
        ({"optimizer": "best"}, "optimizer is 'best'"),
        ({"lr0": 0.0}, "lr0 is 0.0"),
        ({"patience": 0}, "patience is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"name": "../up"}, "name is '../up'"),
        ({"name": ""}, "name is ''"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"device": "0,0"}, "device is '0,0'"),
        ({"device": "0,cpu"}, "device is '0,cpu'"),
        ({"device": "0,1", "batch": 15}, "a multiple of the 2 devices"),
        ({"device": "cpu,cpu", "batch": -1}, "a multiple of the 2 devices"),
    ],
)
def test_an_impossible_value_names_itself(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        TrainSettings(**changes)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch": -1},
        {"device": "0,1", "batch": 8},
        {"device": "cpu,cpu", "batch": 2},
        {"img": 416, "batch": 4, "epochs": 3, "weights": "yolov5s.pt", "cache": "ram", "freeze": 10},
        {"hours": 0.05},
    ],
)
def test_what_people_ask_for_is_taken(changes: dict[str, Any]) -> None:
    assert TrainSettings(**changes)


def test_identity_is_what_is_learnt_and_not_where() -> None:
    base = TrainSettings()
    assert (
        TrainSettings(device="cpu", workers=3, cache="ram", project="x", name="y", resume=False).identity
        == base.identity
    )
    assert TrainSettings(seed=1).identity != base.identity
    assert TrainSettings(epochs=1).identity != base.identity


def test_gpus_become_devices() -> None:
    assert [gpu_devices(count) for count in (0, 1, 2, 4)] == ["cpu", "", "0,1", "0,1,2,3"]

from typing import Any

import pytest

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.errors import SettingsError

NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0}, "lr is 0"),
        ({"lr": -0.1}, "lr is -0.1"),
        ({"lr": NAN}, "lr is nan"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 3}, "at least 4"),
        ({"device": "0,1", "batch_size": 6}, "at least 8 for 2 devices"),
        ({"device": "0,1", "batch_size": 15}, "a multiple of 2 devices"),
        ({"test_batch_size": 0}, "test_batch_size is 0"),
        ({"img": 16}, "img is 16"),
        ({"img": 100_000}, "img is 100000"),
        ({"head": "coral"}, "head is 'coral'"),
        ({"optimizer": "adam"}, "optimizer is 'adam'"),
        ({"amp": "fp8"}, "amp is 'fp8'"),
        ({"squares": "tape"}, "squares is 'tape'"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"ema": NAN}, "ema is nan"),
        ({"warmup": -1}, "warmup is -1"),
        ({"weight_decay": NAN}, "weight_decay is nan"),
        ({"augment": 5}, "augment is 5"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"name": "../up"}, "name is '../up'"),
        ({"device": "0,cpu"}, "device is '0,cpu'"),
        ({"weights": "none", "freeze": True}, "freeze is True"),
    ],
)
def test_an_impossible_value_names_itself(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        BinTrainSettings(**changes)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{}, {"device": "0,1"}, {"device": "cpu,cpu", "batch_size": 8}, {"lr": 0.1, "batch_size": 512}]
)
def test_what_people_ask_for_is_taken(changes: dict[str, Any]) -> None:
    assert BinTrainSettings(**changes)


def test_rates_follow_the_optimizer_unless_they_are_given() -> None:
    adamw, sgd = BinTrainSettings(), BinTrainSettings(optimizer="sgd")
    assert (adamw.peak_lr, adamw.decay) == (3e-4, 0.05)
    assert (sgd.peak_lr, sgd.decay) == (0.02, 5e-4)
    assert BinTrainSettings(lr=0.01, weight_decay=0.0).peak_lr == 0.01
    assert BinTrainSettings(lr=0.01, weight_decay=0.0).decay == 0.0


def test_identity_is_what_is_learnt_and_not_where() -> None:
    base = BinTrainSettings().identity
    elsewhere = {"device": "cpu", "squares": "off", "test_batch_size": 7, "project": "x", "name": "y"}
    assert BinTrainSettings(**elsewhere, resume=False).identity == base  # type: ignore[arg-type]
    for changed in ({"seed": 1}, {"epochs": 1}, {"head": "ordinal"}, {"amp": "bf16"}):
        assert BinTrainSettings(**changed).identity != base  # type: ignore[arg-type]

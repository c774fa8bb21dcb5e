"""What a training takes is said by its settings, its step and its pipelines: they must agree."""

import inspect
from dataclasses import fields
from typing import Any, NamedTuple

import pytest
from kfp.dsl.base_component import BaseComponent

from components.search import search_bins
from components.training import train_bin_counter, train_shelf_detector
from pipelines.bin_counter import bin_counter
from pipelines.bin_search import bin_search
from pipelines.shelf_detector import shelf_detector
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.shelf.train_settings import TrainSettings

OF_STEP = {"size": "model"}  # a step's `model` is its output
NO_SETTINGS = {
    "index",
    "digest",
    "code_version",
    "gpus",
    "nodes",
    "trainjob",
    "gpu_type",
    "node_selector",
    "tolerations",
    "engine",
    "best",
    "rules",
    "stop_on",
    "space",
    "trials",
    "workers",
}


class Flags(NamedTuple):
    step: BaseComponent
    pipeline: BaseComponent
    settings: dict[str, Any]  # name -> default

    @property
    def names(self) -> set[str]:
        return self.step.component_spec.inputs.keys() - NO_SETTINGS


SHELVES = {field.name: field.default for field in fields(TrainSettings)}
BINS = {field.name: field.default for field in fields(BinTrainSettings)}
BINS |= {"lr": BinTrainSettings().peak_lr, "weight_decay": BinTrainSettings().decay}
ALL = [
    Flags(train_shelf_detector, shelf_detector, SHELVES),
    Flags(train_bin_counter, bin_counter, BINS),
    Flags(train_bin_counter, bin_search, BINS),
    Flags(search_bins, bin_search, BINS),
]


def described(component: Any) -> dict[str, str]:
    """Parameter -> its line in a docstring."""
    text = getattr(component, "python_func", None) or component.pipeline_func
    lines = inspect.getdoc(text).partition("Args:\n")[2].partition("\n\n")[0].splitlines()
    return {name.strip(): about.strip() for name, _, about in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        pytest.param(flags, name, id=f"{flags.step.name} {name}")
        for flags in ALL
        for name in sorted(flags.names)
    ],
)
def test_a_flag_is_the_same_in_settings_step_and_pipeline(flags, name):
    field = OF_STEP.get(name, name)
    parameter = inspect.signature(flags.pipeline.pipeline_func).parameters[field]
    assert parameter.default == flags.settings[field]
    assert parameter.annotation is type(flags.settings[field])
    assert described(flags.pipeline)[field].startswith(described(flags.step)[name].rstrip("."))


@pytest.mark.parametrize("flags", ALL, ids=lambda flags: f"{flags.pipeline.name} {flags.step.name}")
def test_every_setting_of_the_pipeline_reaches_the_step(flags):
    parameters = inspect.signature(flags.pipeline.pipeline_func).parameters
    assert parameters.keys() & flags.settings.keys() == {OF_STEP.get(name, name) for name in flags.names}


def test_the_pipelines_of_bins_take_the_same_but_for_the_search():
    counter, search = (inspect.signature(each.pipeline_func).parameters for each in (bin_counter, bin_search))
    assert search.keys() - counter.keys() == {"engine", "space", "trials", "workers"}
    assert counter.keys() <= search.keys()
    for name, parameter in counter.items():
        assert parameter.default == search[name].default
        assert described(bin_counter)[name] == described(bin_search)[name]


def test_what_a_search_has_found_wins_and_is_whole_where_it_must_be():
    settings = BinTrainSettings.on_gpus(
        0, {"img": 96.0, "lr": 0.01, "freeze": False}, img=64, lr=0.001, epochs=2
    )
    assert (settings.img, settings.lr, settings.epochs, settings.device) == (96, 0.01, 2, "cpu")
    assert isinstance(settings.img, int)

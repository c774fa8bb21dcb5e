"""What a training takes is said by its settings, its step and its pipeline: the three must agree."""

import inspect
from dataclasses import fields

import pytest
from kfp.dsl import structures

from components.training import train_shelf_detector
from pipelines.shelf_detector import shelf_detector
from stocktake.shelf.train_settings import TrainSettings

FIELDS = {field.name: field.default for field in fields(TrainSettings)}
OF_STEP = {"size": "model"}  # a step's `model` is its output
ELSEWHERE = {"digest", "code_version", "gpus"}  # no settings; `gpus` makes `device`


def described(text: str) -> dict[str, str]:
    """Parameter -> its line in a docstring."""
    lines = inspect.cleandoc(text).partition("Args:\n")[2].partition("\n\n")[0].splitlines()
    return {name.strip(): about.strip() for name, _, about in (line.partition(":") for line in lines)}


def step_inputs() -> dict[str, structures.InputSpec]:
    inputs = train_shelf_detector.component_spec.inputs
    return {name: spec for name, spec in inputs.items() if name not in {*ELSEWHERE, "index"}}


@pytest.mark.parametrize("name", step_inputs())
def test_a_flag_is_the_same_in_settings_step_and_pipeline(name):
    field = OF_STEP.get(name, name)
    parameters = inspect.signature(shelf_detector.pipeline_func).parameters
    assert parameters[field].default == FIELDS[field]
    assert type(FIELDS[field]).__name__ == parameters[field].annotation.__name__
    step = described(train_shelf_detector.python_func.__doc__)
    whole = described(shelf_detector.pipeline_func.__doc__)
    assert whole[field].startswith(step[name].rstrip("."))


def test_every_setting_of_the_pipeline_reaches_the_step():
    parameters = inspect.signature(shelf_detector.pipeline_func).parameters
    reached = {OF_STEP.get(name, name) for name in step_inputs()}
    assert parameters.keys() & FIELDS.keys() == reached

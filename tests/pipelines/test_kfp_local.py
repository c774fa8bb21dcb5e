"""The contract with the version of kfp whose private names are replaced."""

import builtins
import functools
import inspect
import json
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import kfp
import pytest
from kfp import dsl
from kfp.local import config, executor_input_utils, pipeline_orchestrator, subprocess_task_handler
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator

from pipelines import kfp_local

component = functools.partial(dsl.component, base_image="any-python:1", install_kfp_package=False)


@component
def say(text: str) -> str:
    """Return the text."""
    return text


@component
def mark(path: str) -> None:
    """Make a file."""
    from pathlib import Path

    Path(path).touch()


@component
def fail(counter: str) -> None:
    """Count the attempt, then fail."""
    from pathlib import Path

    with Path(counter).open("a") as stream:
        stream.write("x")
    raise ValueError("never works")


@dsl.pipeline
def echo(text: str) -> str:
    """Say it."""
    return say(text=text).output


@dsl.pipeline
def branch(text: str, same: str, other: str) -> None:
    """Make one file where the text is the expected one, else the other."""
    said = say(text=text)
    with dsl.If(said.output == "yes"):
        mark(path=same)
    with dsl.Else():
        mark(path=other)


@dsl.pipeline
def loop() -> None:
    """Say three things."""
    with dsl.ParallelFor(["a", "b", "c"]) as item:
        say(text=item)


@dsl.pipeline
def stubborn(counter: str) -> None:
    """Fail, and be tried again on a cluster."""
    fail(counter=counter).set_retry(3, backoff_duration="60s")


class Ran(NamedTuple):
    outputs: dict
    commands: list[list[str]]


def run(pipeline, arguments, tmp_path) -> Ran:
    commands = []
    original = subprocess_task_handler.run_local_subprocess

    def recording(full_command, env_vars=None):
        commands.append(full_command)
        return original(full_command, env_vars)

    outputs = kfp_local.run_pipeline_spec(
        pipeline.pipeline_spec, arguments, tmp_path, recording, tmp_path / "kfp.log"
    )
    return Ran(outputs, commands)


def test_private_names_are_those_that_were_read():
    assert kfp.__version__.startswith("2.17.")
    task = inspect.signature(subprocess_task_handler.run_local_subprocess).parameters
    assert list(task) == ["full_command", "env_vars"]
    assert len(inspect.signature(subprocess_task_handler.replace_python_executable).parameters) == 2
    assert len(inspect.signature(executor_input_utils.get_local_pipeline_resource_name).parameters) == 1
    assert list(inspect.signature(pipeline_orchestrator.run_local_pipeline).parameters) == [
        "pipeline_spec",
        "arguments",
    ]
    assert isinstance(vars(ConditionEvaluator)["_resolve_pipeline_channel"], staticmethod)
    assert hasattr(config.LocalExecutionConfig, "instance")


@pytest.mark.parametrize(
    "text", ["run python3 train.py", "it's", 'a "quoted" \\ back', "ünïcode\n2 lines", ""]
)
def test_a_parameter_arrives_as_it_was_given(text, tmp_path):
    assert run(echo, {"text": text}, tmp_path).outputs == {"Output": text}


def test_the_task_runs_on_this_interpreter(tmp_path):
    script = run(echo, {"text": "x"}, tmp_path).commands[0][2]
    assert sys.executable in script


@pytest.mark.parametrize(
    ("text", "expected"), [("yes", "same"), ("it's", "other"), ("\\'", "other"), ("' or 'a' == 'a", "other")]
)
def test_a_condition_on_a_value_with_an_apostrophe_takes_the_right_branch(text, expected, tmp_path):
    run(branch, {"text": text, "same": str(tmp_path / "same"), "other": str(tmp_path / "other")}, tmp_path)
    assert [name for name in ("same", "other") if (tmp_path / name).exists()] == [expected]


def test_task_folders_are_stable_and_kfp_is_quiet(tmp_path, capfd):
    run(echo, {"text": "x"}, tmp_path)
    assert (tmp_path / "steps/say/executor_output.json").exists()
    assert "Executing task" in (tmp_path / "kfp.log").read_text()
    assert capfd.readouterr().out == ""


def test_everything_is_put_back(tmp_path):
    handler = logging.NullHandler()
    logger = logging.getLogger()
    logger.addHandler(handler)
    before = (
        builtins.print,
        logger.level,
        list(logger.handlers),
        subprocess_task_handler.run_local_subprocess,
    )
    try:
        run(loop, {}, tmp_path)
        after = (
            builtins.print,
            logger.level,
            list(logger.handlers),
            subprocess_task_handler.run_local_subprocess,
        )
        assert after == before
        assert config.LocalExecutionConfig.instance is None
    finally:
        logger.removeHandler(handler)


def test_a_failed_task_is_not_retried_here_but_is_on_the_cluster(tmp_path):
    counter = tmp_path / "counter"
    run(stubborn, {"counter": str(counter)}, tmp_path)
    assert counter.read_text() == "x"
    assert stubborn.pipeline_spec.root.dag.tasks["fail"].retry_policy.max_retry_count == 3


def test_the_command_has_the_shape_that_the_runner_reads(tmp_path):
    command = run(echo, {"text": "x"}, tmp_path).commands[0]
    assert command[:2] == ["sh", "-ec"]
    assert "def say(" in command[3]
    inputs = json.loads(command[command.index("--executor_input") + 1])
    assert Path(inputs["outputs"]["outputFile"]).parent == tmp_path / "steps/say"
    assert inputs["inputs"]["parameterValues"] == {"text": "x"}

"""Makes `kfp.local` fit for daily use, for the time of one run.

kfp 2.17 runs a pipeline on this machine but shows no cause of a failure, keeps no log, prints the whole
input of every task, rewrites parameters that contain "python3", takes both branches of a condition for
false when a value holds an apostrophe, and leaves `print` and the root logger changed behind a parallel
loop. All of it is fixed in `patched`, the only place that touches private names of kfp;
`tests/pipelines/test_kfp_local.py` holds us to the version that was read.
"""

import builtins
import contextlib
import logging
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kfp import local
from kfp.local import config, executor_input_utils, pipeline_orchestrator, subprocess_task_handler
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator
from kfp.pipeline_spec import pipeline_spec_pb2

STEPS = "steps"  # of the task folders, in place of kfp's "<pipeline>-<time>": a rerun finds its files again
RunTask = Callable[[list[str], dict[str, str] | None], int]


def run_pipeline_spec(
    spec: pipeline_spec_pb2.PipelineSpec,
    arguments: dict[str, Any],
    root: Path,
    run_task: RunTask,
    chatter: Path,
) -> dict[str, Any]:
    """Run a compiled pipeline with `run_task` in place of kfp's subprocess call; return its outputs.

    Task folders are `root/steps/<task>`. What kfp itself prints goes to the file `chatter`. Retries are
    dropped: on one machine a task that failed would fail again after the wait.
    """
    once = without_retries(spec)
    with chatter.open("w") as sink, contextlib.redirect_stdout(sink), patched(root, run_task):
        return dict(pipeline_orchestrator.run_local_pipeline(once, arguments))


def without_retries(spec: pipeline_spec_pb2.PipelineSpec) -> pipeline_spec_pb2.PipelineSpec:
    """Return a copy of the pipeline in which no task has a retry policy."""
    copy = pipeline_spec_pb2.PipelineSpec()
    copy.CopyFrom(spec)
    for component in [copy.root, *copy.components.values()]:
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")
    return copy


@contextlib.contextmanager
def patched(root: Path, run_task: RunTask) -> Iterator[None]:
    """Point kfp.local at `root` and `run_task`, fix what is listed above, then put everything back."""
    resolve = ConditionEvaluator._resolve_pipeline_channel
    replacements: list[tuple[Any, str, Any]] = [
        (subprocess_task_handler, "run_local_subprocess", run_task),
        (subprocess_task_handler, "replace_python_executable", _use_this_python),
        (executor_input_utils, "get_local_pipeline_resource_name", lambda _name: STEPS),
        (ConditionEvaluator, "_resolve_pipeline_channel", staticmethod(_quoting(resolve))),
        (config.LocalExecutionConfig, "instance", None),
        (builtins, "print", builtins.print),
    ]
    originals = [(owner, name, vars(owner)[name]) for owner, name, _ in replacements]
    logger = logging.getLogger()
    level, handlers = logger.level, list(logger.handlers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no effect in the current local runner.*")
        warnings.filterwarnings("ignore", message=".*non-Python base image.*")
        try:
            for owner, name, replacement in replacements:
                setattr(owner, name, replacement)
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=False)
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)
            logger.setLevel(level)
            logger.handlers[:] = handlers


def _use_this_python(command: list[str], executable: str = sys.executable) -> list[str]:
    """Name our interpreter in kfp's shell script only: the other words are code and parameters."""
    shell, flags, script, *words = command
    return [shell, flags, script.replace("python3", shlex.quote(executable)), *words]


class _Quoted(str):
    """A string that kfp's condition evaluator can paste between apostrophes."""

    def __format__(self, _spec: str) -> str:
        return self.replace("\\", "\\\\").replace("'", "\\'")


def _quoting(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def resolve_quoted(*args: Any, **kwargs: Any) -> Any:
        value = resolve(*args, **kwargs)
        return _Quoted(value) if isinstance(value, str) else value

    return resolve_quoted

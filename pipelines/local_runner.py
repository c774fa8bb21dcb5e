"""Runs a pipeline on this machine, from the same definition that the cluster gets."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from pipelines import kfp_local
from pipelines.catalogue import find
from pipelines.console import Console
from pipelines.task_runner import TaskRecord, TaskRunner
from stocktake.code_version import code_version
from stocktake.errors import SettingsError, StocktakeError
from stocktake.files import atomic_path, explain_os_error
from stocktake.mlflow_server import tracking_uri
from stocktake.settings import load_settings

LOCK_WAIT_S = 5.0  # for the tasks of a run that was killed to end
_SUFFIX = {
    "system.Dataset": ".parquet",
    "system.HTML": ".html",
    "system.Markdown": ".md",
    "system.Metrics": ".json",
}


class RunError(StocktakeError):
    """A task of a local run failed; the message has its cause and its log."""


@dataclass(slots=True)
class RunResult:
    """What a local run left behind."""

    out_dir: Path
    arguments: dict[str, Any]
    tasks: list[TaskRecord] = field(default_factory=list)
    # output of the pipeline -> its file or folder in out_dir
    artifacts: dict[str, Path] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  # output of the pipeline -> what a step returned
    seconds: float = 0.0


def run_pipeline(name: str, params: Mapping[str, Any], out_dir: Path) -> RunResult:
    """Run a pipeline of the catalogue on this machine with these parameters over its defaults.

    Raises:
        SettingsError: no such pipeline or parameter, or an impossible value; nothing has been done then.
        RunError: a task failed.
    """
    pipeline = find(name)
    return run_locally(pipeline.definition, pipeline.arguments(params), out_dir)


def run_locally(
    pipeline: BaseComponent, arguments: Mapping[str, Any], out_dir: Path, stream: TextIO | None = None
) -> RunResult:
    """Run a pipeline with a value for each of its parameters; tasks run one after another as subprocesses.

    `out_dir` gets the outputs of the pipeline by their names (`report.html`, `model/`, …), `run.json`, the
    folder `steps/<task>` with everything that a task wrote, and `logs/<task>.log`. Run again, it keeps
    every task whose code, parameters and inputs are unchanged, and hands a killed one the folder with its
    checkpoints. Places that the environment does not name are under `runs` in the current directory: store,
    cache and MLflow's database.

    Raises:
        RunError: a task failed.
        SettingsError: another run works in `out_dir`, it cannot be written, or a variable is impossible.
    """
    out_dir = out_dir.resolve()
    environment = local_environment()
    spec = pipeline.pipeline_spec
    may_keep = {
        task.component_ref.name.removeprefix("comp-"): task.caching_options.enable_cache
        for component in [spec.root, *spec.components.values()]
        for task in component.dag.tasks.values()
    }
    with _exclusive(out_dir) as lock:
        result = RunResult(out_dir, dict(arguments))
        runner = TaskRunner(
            out_dir,
            environment,
            Console(stream or sys.stderr, _count_steps(spec, spec.root)),
            lambda task: may_keep.get(task, False),
            code_version(),
            held=(lock,),
        )
        result.tasks = runner.records
        started = time.monotonic()
        try:
            with _stopping(runner):
                outputs = kfp_local.run_pipeline_spec(
                    spec, result.arguments, out_dir, runner, out_dir / "logs" / "kfp.log"
                )
        except (StocktakeError, OSError):
            raise
        except Exception as error:
            raise RunError(
                f"kfp.local could not run {pipeline.name}: {type(error).__name__}: {error}\n"
                f"  its log: {out_dir / 'logs' / 'kfp.log'}"
            ) from error
        finally:
            result.seconds = time.monotonic() - started
            _write_record(pipeline.name, result)
        _raise_for_failure(result)
        _publish(outputs, result)
        _write_record(pipeline.name, result)
        return result


def local_environment() -> dict[str, str]:
    """Return the variables that name store, cache and MLflow server, relative paths made absolute.

    Raises:
        SettingsError: a variable has an impossible value.
    """
    settings = load_settings()
    store = settings.store if "://" in settings.store else str(Path(settings.store).expanduser().absolute())
    return {
        "STOCKTAKE_STORE": store,
        "STOCKTAKE_CACHE": str(settings.cache.expanduser().absolute()),
        "MLFLOW_TRACKING_URI": tracking_uri(),
    }


@contextlib.contextmanager
def _exclusive(out_dir: Path) -> Iterator[int]:
    """Hold the run's folder. Tasks inherit the lock: it is free when a killed run's last one has ended."""
    try:
        (out_dir / "logs").mkdir(parents=True, exist_ok=True)
        lock = os.open(out_dir / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise SettingsError(explain_os_error(error, out_dir)) from error
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not _take(lock):
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"{out_dir} is in use by another run (`fuser {out_dir / '.lock'}` names it); wait for "
                    "it, end it, or choose another --out"
                )
            time.sleep(0.1)
        yield lock
    finally:
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _stopping(runner: TaskRunner) -> Iterator[None]:
    """End the running tasks on Ctrl-C and SIGTERM, also those that threads of a parallel loop wait for."""

    def stop(number: int, _frame: Any) -> None:
        runner.stop()
        raise KeyboardInterrupt(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_for_failure(result: RunResult) -> None:
    failed = [task for task in result.tasks if task.status == "failed"]
    if failed:
        first = failed[0]
        raise RunError(
            f"{first.name} failed after {first.seconds:.1f} s: {first.cause}\n"
            f"  its log: {first.log}\n"
            "  when the cause is fixed, the same command keeps the finished steps and continues here"
        )


def _publish(outputs: Mapping[str, Any], result: RunResult) -> None:
    """Give the pipeline's outputs their names in the run's folder; files are hard links where that works."""
    for name, value in outputs.items():
        if not isinstance(value, dsl.Artifact):
            result.values[name] = value
            continue
        source, target = Path(value.uri), result.out_dir / f"{name}{_SUFFIX.get(value.schema_title, '')}"
        if isinstance(value, dsl.Metrics):
            target.write_text(json.dumps(value.metadata, indent=2) + "\n")
        elif source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, copy_function=_link)
        else:
            target.unlink(missing_ok=True)
            _link(source, target)
        result.artifacts[name] = target


def _link(source: str | Path, target: str | Path) -> str | Path:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _write_record(name: str, result: RunResult) -> None:
    record = {
        "pipeline": name,
        "arguments": result.arguments,
        "seconds": round(result.seconds, 1),
        "outputs": {**{key: str(path) for key, path in result.artifacts.items()}, **result.values},
        "tasks": [
            {
                "name": task.name,
                "status": task.status,
                "seconds": round(task.seconds, 1),
                "cause": task.cause,
                "log": str(task.log),
                "returned": task.parameters,
            }
            for task in result.tasks
        ],
    }
    with atomic_path(result.out_dir / "run.json") as part:
        part.write_text(json.dumps(record, indent=2) + "\n")


def _count_steps(spec: Any, component: Any) -> int:
    """How many steps a run has for certain: those that depend on a condition come on top."""
    if not component.HasField("dag"):
        return 1
    certain = [task for task in component.dag.tasks.values() if not task.trigger_policy.condition]
    return sum(_count_steps(spec, spec.components[task.component_ref.name]) for task in certain)

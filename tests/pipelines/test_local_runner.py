import fcntl
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from kfp import dsl

from pipelines.local_runner import RunError, local_environment, run_locally
from stocktake.code_version import code_version
from stocktake.errors import SettingsError
from stocktake.files import content_digest

component = functools.partial(dsl.component, base_image="any-python:1", install_kfp_package=False)


@component
def count(folder: str, words: dsl.Output[dsl.Artifact], metrics: dsl.Output[dsl.Metrics]) -> int:
    """Count the files of a folder; write their names down."""
    from pathlib import Path

    names = sorted(path.name for path in Path(folder).iterdir())
    Path(words.path).mkdir(parents=True, exist_ok=True)
    (Path(words.path) / "names.txt").write_text("\n".join(names))
    metrics.log_metric("files", len(names))
    print("counted", flush=True)
    return len(names)


@component
def describe(words: dsl.Input[dsl.Artifact], title: str, page: dsl.Output[dsl.HTML]) -> str:
    """Write a page, count how often it was written, and tell where we are."""
    import os
    from pathlib import Path

    if title == "boom":
        raise FileNotFoundError(f"no photos named {title}")
    checkpoint = Path(os.environ["STOCKTAKE_WORK_DIR"]) / "checkpoint"
    if title == "killed once" and not checkpoint.exists():
        checkpoint.write_text("half way")
        os.kill(os.getpid(), 9)
    Path(page.path).write_text(f"<h1>{title}</h1>" + (Path(words.path) / "names.txt").read_text())
    with Path(os.environ["RUNS"]).open("a") as stream:
        stream.write("x")
    return str(Path.cwd())


class Outputs(NamedTuple):
    words: dsl.Artifact
    page: dsl.HTML
    metrics: dsl.Metrics
    where: str


@dsl.pipeline(name="count-files")
def count_files(folder: str, title: str = "files") -> Outputs:
    """Count files, then describe them."""
    counted = count(folder=folder).set_caching_options(False)
    counted.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1).set_retry(
        2, backoff_duration="60s"
    )
    described = describe(words=counted.outputs["words"], title=title)
    return Outputs(
        counted.outputs["words"],
        described.outputs["page"],
        counted.outputs["metrics"],
        described.outputs["Output"],
    )


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "one.jpg").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNS", str(tmp_path / "runs-of-describe"))
    return folder


def run(photos: Path, title: str = "files"):
    stream = io.StringIO()
    result = run_locally(count_files, {"folder": str(photos), "title": title}, photos.parent / "out", stream)
    return result, stream.getvalue()


def test_outputs_get_their_names_in_the_run_folder(photos):
    result, _ = run(photos)
    assert (result.out_dir / "words/names.txt").read_text() == "one.jpg"
    assert (result.out_dir / "page.html").read_text() == "<h1>files</h1>one.jpg"
    assert json.loads((result.out_dir / "metrics.json").read_text()) == {"files": 1}
    assert result.artifacts["page"] == result.out_dir / "page.html"
    record = json.loads((result.out_dir / "run.json").read_text())
    assert record["arguments"]["title"] == "files"
    assert [(task["name"], task["status"]) for task in record["tasks"]] == [
        ("count", "done"),
        ("describe", "done"),
    ]


def test_tasks_run_in_their_own_folder_not_in_the_callers(photos):
    result, _ = run(photos)
    assert result.values["where"] == str(result.out_dir / "steps/describe")


def test_one_line_per_event_and_a_log_per_task(photos):
    result, shown = run(photos)
    lines = [line.split(" in ")[0] for line in shown.splitlines()]
    assert lines == [
        "[1/2] count: started", "[1/2] count: done", "[2/2] describe: started", "[2/2] describe: done",
    ]  # fmt: skip
    assert "counted" in result.tasks[0].log.read_text()


def test_a_second_run_keeps_what_is_unchanged(photos):
    run(photos)
    result, shown = run(photos)
    assert [task.status for task in result.tasks] == ["done", "kept"]  # the first reads a folder: never kept
    assert "describe: unchanged, kept" in shown
    assert (photos.parent / "runs-of-describe").read_text() == "x"
    assert (result.out_dir / "page.html").exists()


def test_a_changed_input_runs_the_step_again(photos):
    run(photos)
    (photos / "two.jpg").touch()
    result, _ = run(photos)
    assert [task.status for task in result.tasks] == ["done", "done"]
    assert (result.out_dir / "page.html").read_text() == "<h1>files</h1>one.jpg\ntwo.jpg"


def test_a_changed_parameter_or_a_lost_output_runs_the_step_again(photos):
    run(photos)
    result, _ = run(photos, title="other")
    assert result.tasks[1].status == "done"
    (result.out_dir / "steps/describe/page").unlink()
    result, _ = run(photos, title="other")
    assert result.tasks[1].status == "done"


def test_a_change_of_the_library_runs_the_step_again(photos, monkeypatch):
    run(photos)
    monkeypatch.setattr("pipelines.local_runner.code_version", lambda: "0.1.0-other")
    result, _ = run(photos)
    assert result.tasks[1].status == "done"


def test_the_error_has_the_cause_and_the_log(photos):
    with pytest.raises(RunError) as failure:
        run(photos, title="boom")
    message = str(failure.value)
    log = photos.parent / "out/logs/describe.log"
    assert "describe failed after" in message
    assert "FileNotFoundError: no photos named boom" in message
    assert str(log) in message
    assert "Traceback" in log.read_text()


def test_a_killed_task_continues_from_its_work_folder(photos):
    with pytest.raises(RunError, match="ended by SIGKILL, most often because memory ran out"):
        run(photos, title="killed once")
    (checkpoint,) = (photos.parent / "out/work").glob("describe-*/checkpoint")
    assert checkpoint.read_text() == "half way"
    result, _ = run(photos, title="killed once")
    assert [task.status for task in result.tasks] == ["done", "done"]
    assert list((photos.parent / "out/work").iterdir()) == []


def test_a_failed_run_is_recorded(photos):
    with pytest.raises(RunError):
        run(photos / "absent")
    record = json.loads((photos.parent / "photos/out/run.json").read_text())
    assert record["tasks"][0]["status"] == "failed"
    assert "FileNotFoundError" in record["tasks"][0]["cause"]


def test_two_runs_do_not_share_a_folder(photos, monkeypatch):
    monkeypatch.setattr("pipelines.local_runner.LOCK_WAIT_S", 0.0)
    (photos.parent / "out").mkdir()
    with (photos.parent / "out/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SettingsError, match="in use by another run"):
            run(photos)


def test_a_folder_that_cannot_be_made_is_one_clear_error(photos):
    (photos.parent / "file").touch()
    with pytest.raises(SettingsError, match="file"):
        run_locally(
            count_files, {"folder": str(photos), "title": ""}, photos.parent / "file/out", io.StringIO()
        )


def test_places_are_absolute_for_the_tasks(tmp_path, monkeypatch):
    for name in ("STOCKTAKE_STORE", "STOCKTAKE_CACHE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    environment = local_environment()
    assert environment["STOCKTAKE_STORE"] == str(tmp_path / "runs/store")
    assert environment["STOCKTAKE_CACHE"] == str(tmp_path / "runs/cache")
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("STOCKTAKE_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    environment = local_environment()
    assert environment["STOCKTAKE_STORE"] == "s3://bucket/prefix"
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


SLEEPER = """
import functools, sys
from pathlib import Path
from kfp import dsl
from pipelines.local_runner import run_locally

component = functools.partial(dsl.component, base_image="any-python:1", install_kfp_package=False)

@component
def wait(pid_file: str) -> None:
    import os, time
    from pathlib import Path
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(600)

@dsl.pipeline
def waiting(pid_file: str) -> None:
    wait(pid_file=pid_file)

run_locally(waiting, {"pid_file": sys.argv[1]}, Path(sys.argv[2]))
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopping_the_run_stops_the_task(number, tmp_path):
    script, pid_file = tmp_path / "sleeper.py", tmp_path / "pid"
    script.write_text(SLEEPER)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script), str(pid_file), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        wait_until(lambda: pid_file.exists() and pid_file.read_text())
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode != 0
        wait_until(lambda: not alive(int(pid_file.read_text())))
    finally:
        process.kill()
        process.wait()


def test_the_code_version_follows_the_files(tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = content_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("x")
    assert content_digest(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert content_digest(tmp_path) != first
    assert code_version().startswith("0.1.0-")

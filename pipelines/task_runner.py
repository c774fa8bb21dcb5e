"""Runs the tasks of a local pipeline: a log file each, live progress, and none twice for the same inputs."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.console import Console
from pipelines.fingerprints import fingerprint
from pipelines.task_log import ExecutorFilter, LineReader, cause_of_failure
from stocktake.files import atomic_path

_GRACE_S = 10.0  # between asking a task to stop and ending it
_DONE = "done.json"
# The first terminal that a session's leader opens controls the session: when our end closes, since this
# process was killed, the kernel hangs up on all of it, and no task outlives its run.
_ON_TERMINAL = ': < "$0"; exec "$@" < /dev/null'
TERMINAL_SIZE = (24, 110)  # rows and columns that a task sees


@dataclass(slots=True)
class TaskRecord:
    """What became of one task."""

    name: str
    folder: Path
    log: Path
    # kept: done by an earlier run, inputs unchanged
    status: Literal["running", "done", "kept", "failed"] = "running"
    seconds: float = 0.0
    cause: str = ""  # of a failure
    parameters: dict[str, Any] = field(default_factory=dict)  # what the step returned
    artifacts: dict[str, Path] = field(default_factory=dict)
    # per artifact; a Metrics holds its values here
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read_outputs(self) -> None:
        """Fill in parameters, artifacts and metadata from what kfp's executor wrote."""
        written = self.folder / "executor_output.json"
        outputs = json.loads(written.read_text()) if written.exists() else {}
        self.parameters = outputs.get("parameterValues", {})
        for name, entry in outputs.get("artifacts", {}).items():
            self.artifacts[name] = Path(entry["artifacts"][0]["uri"])
            self.metadata[name] = entry["artifacts"][0].get("metadata", {})


class TaskRunner:
    """Called by kfp.local once per task with the command of its container.

    Args:
        out_dir: folder of the run; a task gets `steps/<task>` (its outputs and its working directory),
            `logs/<task>.log`, and `work/<task>-<fingerprint>`, which outlives a killed task and is named to
            it in STOCKTAKE_WORK_DIR.
        environment: variables for every task, over those of this process and those that a step sets.
        console: where events and progress are shown.
        may_keep: whether an earlier result of the task of this name may stand when its inputs are unchanged.
        code: digest of the library, part of what "unchanged" means.
        held: file descriptors that tasks inherit.
    """

    def __init__(
        self,
        out_dir: Path,
        environment: Mapping[str, str],
        console: Console,
        may_keep: Callable[[str], bool],
        code: str,
        held: tuple[int, ...] = (),
    ) -> None:
        self._out = out_dir
        self._environment = dict(environment)
        self._console = console
        self._may_keep = may_keep
        self._code = code
        self._held = held
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self.records: list[TaskRecord] = []

    def __call__(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run one task, or keep its earlier result; return its exit status."""
        command = full_command  # kfp passes it by this name
        inputs = json.loads(command[command.index("--executor_input") + 1])
        folder = Path(inputs["outputs"]["outputFile"]).parent
        name = folder.relative_to(self._out / "steps").as_posix()
        record = TaskRecord(name, folder, self._out / "logs" / f"{name.replace('/', '-')}.log")
        self.records.append(record)
        key = fingerprint(command[3], inputs["inputs"], {**(env_vars or {}), "code": self._code})
        may_keep = self._may_keep(folder.name)
        if may_keep and _is_done(folder, key):
            record.status = "kept"
            record.read_outputs()
            self._console.event(name, "unchanged, kept from an earlier run")
            return 0
        self._console.event(name, "started")
        if may_keep:  # a step that always runs finds its earlier outputs, and may take them up itself
            shutil.rmtree(folder, ignore_errors=True)
        work = self._out / "work" / f"{name.replace('/', '-')}-{key[:12]}"
        for path in (folder, work, record.log.parent):
            path.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        status = self._execute(record, command, {**(env_vars or {}), "STOCKTAKE_WORK_DIR": str(work)})
        record.seconds = time.monotonic() - started
        if status == 0:
            record.status = "done"
            record.read_outputs()
            _mark_done(record, key)
            for old in work.parent.glob(f"{work.name.rpartition('-')[0]}-*"):
                shutil.rmtree(old, ignore_errors=True)
            self._console.event(name, f"done in {record.seconds:.1f} s")
        else:
            record.status, record.cause = "failed", cause_of_failure(record.log, status)
            self._console.event(name, f"failed after {record.seconds:.1f} s")
        return status

    def stop(self) -> None:
        """End every task that is still running, with whatever it started."""
        with self._lock:
            processes = [process for process in self._processes if process.poll() is None]
        for process in processes:
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal_group(process, signal.SIGKILL)

    def _execute(self, record: TaskRecord, command: list[str], variables: Mapping[str, str]) -> int:
        with tempfile.TemporaryDirectory(prefix="stocktake-") as scratch, _terminal() as (ours, theirs):
            process = subprocess.Popen(
                ["sh", "-c", _ON_TERMINAL, os.ttyname(theirs), *command],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                cwd=record.folder,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "TMPDIR": scratch,  # kfp's script leaves a folder there
                    **variables,
                    **self._environment,
                },
                pass_fds=self._held,
                start_new_session=True,  # so that stop() reaches what the task starts
                preexec_fn=_heed_hangup,
            )
            os.close(theirs)
            with self._lock:
                self._processes.append(process)
            try:
                self._follow(ours, record)
                return process.wait()
            finally:
                _signal_group(process, signal.SIGKILL)
                process.wait()

    def _follow(self, terminal: int, record: TaskRecord) -> None:
        started, reader, visible = time.monotonic(), LineReader(), ExecutorFilter()
        with record.log.open("w", encoding="utf-8", buffering=1) as log:
            while data := _read(terminal):
                for line, is_final in reader.feed(data):
                    if is_final:
                        log.write(f"{line}\n")
                    if text := visible(line):
                        self._console.progress(record.name, text.strip(), time.monotonic() - started)
            log.write(reader.rest())


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[int, int]]:
    """Yield the two ends of a pseudo-terminal, where bars are shown; the caller closes the second."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, TERMINAL_SIZE)
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says EIO where a pipe would end
        return b""


def _heed_hangup() -> None:
    """Let the task end when its terminal does, as when this process is killed; under nohup it would not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _is_done(folder: Path, key: str) -> bool:
    try:
        done = json.loads((folder / _DONE).read_text())
    except (OSError, ValueError):
        return False
    return bool(done["fingerprint"] == key and all(Path(path).exists() for path in done["files"]))


def _mark_done(record: TaskRecord, key: str) -> None:
    files = [str(path) for path in record.artifacts.values() if path.exists()]
    with atomic_path(record.folder / _DONE) as part:
        part.write_text(json.dumps({"fingerprint": key, "files": files}))

"""Starts one process per device for a training over several, with PyTorch's own launcher."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from stocktake.errors import ModelError, StocktakeError

EpochHook = Callable[[dict[str, float], int], None]  # metrics of an epoch and its number, from 1

POLL_SECONDS = 0.5
LOST_RANK = (
    "one of its processes ended without a word: it was killed, or memory ran out; the log above says which."
    " The same call continues from the last epoch"
)
LOST_SIGNS = ("closed by peer", "reset by peer", "gloo", "nccl")  # what the others say then


def node_count() -> int:
    """Machines that train together; Kubeflow Trainer says it in the variables of PyTorch's launcher."""
    return int(os.environ.get("PET_NNODES", "1"))


def node_number() -> int:
    """Which of them this is, from 0; the first one keeps the run."""
    return int(os.environ.get("PET_NODE_RANK", "0"))


def launch_ranks(
    module: str, arguments: dict[str, Any], ranks: int, run_dir: Path, on_epoch: EpochHook
) -> None:
    """Train over `ranks` processes of this machine, and those of other nodes; return when ours have ended.

    Rank 0 appends the metrics of each epoch to a file, from which they are handed to `on_epoch` in this
    process: the one that holds the run of MLflow.

    Args:
        module: run by each rank as `python -m module FILE`; its main is `be_rank`.
        arguments: JSON that each rank gets.
        ranks: processes.
        run_dir: folder for the files between this process and its ranks.
        on_epoch: an exception from it ends the ranks.

    Raises:
        ModelError: a rank failed; the message is the rank's own where it has one.
    """
    epochs_file, error_file, run_file = (run_dir / f"ranks.{name}" for name in ("epochs", "error", "json"))
    for stale in (epochs_file, error_file):
        stale.unlink(missing_ok=True)
    run = {
        "arguments": arguments,
        "epochs_file": str(epochs_file),
        "error_file": str(error_file),
        "caller": os.getpid(),
    }
    run_file.write_text(json.dumps(run))
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    if node_count() == 1:  # where there are more it meets them at PET_MASTER_ADDR
        command.append("--standalone")
    # the launcher inherits the lock of `RunFolder.hold`: it ends after its ranks, whatever becomes of us
    process = subprocess.Popen([*command, "-m", module, str(run_file)], close_fds=False)
    seen = 0
    try:
        while True:
            ended = process.poll() is not None
            seen = _hand_on(epochs_file, seen, on_epoch)
            if ended:
                break
            _wait(process)
    except BaseException:
        process.terminate()  # the launcher ends its ranks
        process.wait()
        raise
    if process.returncode:
        reason = error_file.read_text() if error_file.exists() else LOST_RANK
        devices = f"{ranks} devices" + (f" on each of {node_count()} nodes" if node_count() > 1 else "")
        raise ModelError(f"a rank of the training over {devices} failed: {reason}")


def be_rank(train: Callable[[dict[str, Any], EpochHook], object]) -> None:
    """Be one rank that `launch_ranks` started: train with its arguments, tell epochs and errors by files."""
    run = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=_end_after, args=(run["caller"],), daemon=True).start()

    def append(metrics: dict[str, float], epoch: int) -> None:
        with Path(run["epochs_file"]).open("a") as file:
            file.write(json.dumps([metrics, epoch]) + "\n")

    try:
        train(run["arguments"], append)
    except Exception as error:
        # the first to fail knows why; the others only know that they have lost it
        with contextlib.suppress(FileExistsError), Path(run["error_file"]).open("x") as file:
            file.write(_explain(error))
        raise


def _end_after(pid: int) -> None:
    """End this process once process `pid` is gone: one that was killed can't end its ranks itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        caller = psutil.Process(pid)
        while caller.status() != psutil.STATUS_ZOMBIE:
            time.sleep(POLL_SECONDS)
    os._exit(1)


def _explain(error: Exception) -> str:
    if isinstance(error, StocktakeError):
        return str(error)
    if isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in LOST_SIGNS):
        return f"{LOST_RANK} ({str(error).splitlines()[0]})"
    return f"{type(error).__name__}: {error}"


def _hand_on(epochs_file: Path, seen: int, on_epoch: EpochHook) -> int:
    """Hand on the whole lines after the first `seen`; return how many there are now."""
    if not epochs_file.exists():
        return seen
    lines = epochs_file.read_text().split("\n")[:-1]
    for line in lines[seen:]:
        metrics, epoch = json.loads(line)
        on_epoch(metrics, epoch)
    return len(lines)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(POLL_SECONDS)

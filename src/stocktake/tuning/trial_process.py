"""A process that trains trials, one after the other, so that a trial can take nothing else down with it.

The search sends an `Order` per trial and answers each `Epoch` with whether to stop; the process sends what
came out. It ends when it is told to, or with the process of the search, however that ends.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from stocktake import tracking
from stocktake.bins.counter import BinCounter
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.devices import let_threads_sleep
from stocktake.errors import DataError, SettingsError, StoreError
from stocktake.tuning.search_lock import hold_for_trials

log = logging.getLogger(__name__)

GRACE_S = 10.0  # to end the run of MLflow, and other ranks


@dataclass(frozen=True, slots=True)
class Order:
    """One trial to train."""

    settings: BinTrainSettings
    metric: str
    index_path: Path
    work_dir: Path  # of the checkpoints; the trial's folder is `settings.name` in it
    log_path: Path
    tracking_uri: str
    parent_run: str
    run_id: str | None  # of an earlier process, to be continued


@dataclass(frozen=True, slots=True)
class Begun:
    """The run of MLflow that the trial has."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch is done; the search answers True where the trial is to be stopped."""

    number: int  # from 1
    value: float


@dataclass(frozen=True, slots=True)
class Ended:
    """What came out: a value, or neither where the trial was stopped, or why it failed."""

    value: float | None = None
    reason: str = ""
    hopeless: bool = False  # other trials would fail in the same way
    died: bool = False  # the process could not even end its run of MLflow
    spent: bool = False  # the process ends, and with it the memory that a failure has left behind


Message = Begun | Epoch | Ended


class TrialProcess:
    """The search's side of the process."""

    def __init__(self, folder: Path, cores: list[int]):
        """Start one for the search of `folder` that uses `cores`, numbers of the machine's cores."""
        context = get_context("spawn")  # CUDA does not survive a fork, and neither do threads
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, folder, cores), name="trial")
        self._process.start()
        other.close()

    def send(self, message: Order | bool) -> None:
        """Send an order, or the answer to an `Epoch`."""
        self.connection.send(message)

    def receive(self) -> Message:
        """The next message; an `Ended` in the process's stead where it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return Ended(reason=_explain_exit(self._process.exitcode or 0), died=True, spent=True)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self._process.terminate()
        self._process.join(GRACE_S)
        self._process.kill()
        self._process.join()
        self.connection.close()


def train_trial(
    order: Order, should_stop: Callable[[int, float], bool], begun: Callable[[str], None]
) -> float:
    """Train one trial within a run of MLflow of its own; return the metric of its best epoch.

    Args:
        order: the trial.
        should_stop: asked after each epoch, with its number and the metric.
        begun: told the id of the run.

    Raises:
        RunStopped: `should_stop` said so.
    """
    from stocktake.bins.training import train

    def on_epoch(metrics: dict[str, float], epoch: int) -> None:
        tracking.log_metrics(metrics, epoch)
        if should_stop(epoch, _pick(metrics, order.metric)) and epoch < order.settings.epochs:
            raise tracking.RunStopped(f"after epoch {epoch}, worse than the median of the other trials")

    name = order.settings.name
    with tracking.start_run(name, BinCounter.TASK, uri=order.tracking_uri, run_id=order.run_id) as run_id:
        begun(run_id)
        tracking.log_params(asdict(order.settings), "train")
        result = train(order.index_path, None, order.settings, order.work_dir, on_epoch)
        value = _pick(result.metrics, order.metric)
        tracking.log_metrics({f"best/{order.metric}": value})
    return value


def _pick(metrics: dict[str, float], name: str) -> float:
    if name not in metrics:
        raise SettingsError(f"metric: training measures no {name}, but {', '.join(metrics)}")
    return metrics[name]


def _serve(connection: Connection, folder: Path, cores: list[int]) -> None:
    """Be the process."""
    hold_for_trials(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the search too, which then ends this
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_the_search, daemon=True).start()
    os.sched_setaffinity(0, cores)
    let_threads_sleep()
    try:
        while True:
            order = connection.recv()
            _log_to(order.log_path)
            ended = _run(order, connection)
            connection.send(ended)
            if ended.spent:
                return
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _run(order: Order, connection: Connection) -> Ended:
    def should_stop(epoch: int, value: float) -> bool:
        connection.send(Epoch(epoch, value))
        return bool(connection.recv())

    os.environ["MLFLOW_PARENT_RUN_ID"] = order.parent_run
    try:
        return Ended(train_trial(order, should_stop, lambda run_id: connection.send(Begun(run_id))))
    except tracking.RunStopped:
        return Ended()
    except Exception as error:
        log.exception("the trial failed")
        name = "" if isinstance(error, DataError | SettingsError) else f"{type(error).__name__}: "
        spent = not isinstance(error, DataError)  # which is found before anything is trained
        return Ended(reason=f"{name}{error}", hopeless=isinstance(error, StoreError), spent=spent)
    finally:
        gc.collect()


def _end_with_the_search() -> None:
    """Leave no training behind when the search is killed; it would go on with what the next one resumes."""
    search = parent_process()
    if search is not None:
        search.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt  # MLflow shows the run as KILLED


def _log_to(path: Path) -> None:
    """Send all output of this process, that of libraries in C too, to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)


def _explain_exit(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as Linux does where memory runs out; lower batch_size or img"
    by = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
    return f"its process ended {by}; its log has the reason"

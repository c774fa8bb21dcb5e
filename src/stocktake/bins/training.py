"""Trains the bin counter: a prepared index in, a model dir out."""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake import tracking
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training_checks import check_machine, check_photos, check_room
from stocktake.bins.weights import resolve_weights
from stocktake.checkpoint_store import keep_in_store
from stocktake.dataset import DatasetIndex
from stocktake.devices import let_threads_sleep
from stocktake.epoch_log import keep_epochs, tell_again
from stocktake.errors import StoreError
from stocktake.files import atomic_path, explain_os_error
from stocktake.launch import EpochHook, launch_ranks, node_count
from stocktake.monitoring.run_files import (
    and_then,
    judge_again,
    log_answers,
    read_summary,
    rules_identity,
)
from stocktake.run_folder import RunFolder, State, open_run
from stocktake.settings import load_settings

if TYPE_CHECKING:
    from stocktake.bins.weights import Start
    from stocktake.monitoring.monitor import TrainingMonitor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came out of a training."""

    model_dir: Path | None
    run_dir: Path
    weights: Path  # the best checkpoint
    start: str  # what it started from
    metrics: dict[str, float]  # of the best epoch: val/accuracy, val/rmse, val/mae, val/loss, train/loss …
    best_epoch: int
    epochs: int
    stopped: str  # why it ended before its time; '' where it did not
    rules: str  # a line for each training rule; '' where nobody watched
    resumed_from: int  # epochs that an earlier process had done
    seconds: float


def train(
    index_path: Path,
    model_dir: Path | None,
    settings: BinTrainSettings | None = None,
    work_dir: Path | None = None,
    on_epoch: EpochHook | None = None,
    monitor: "TrainingMonitor | None" = None,
    on_done_epoch: EpochHook | None = None,
) -> TrainResult:
    """Train a ResNet50 on the train photos of an index, choose by its val photos, export to a model dir.

    A run that was killed continues from its last epoch when it is called again with the same settings and
    photos, on another machine too where `checkpoint_store` is used, and on a CPU ends with the very weights
    of a run that was not killed; one that had finished is only exported again. Metrics of every epoch go to
    the open run of `tracking`.

    Args:
        index_path: a prepared index.parquet.
        model_dir: gets weights.pt, model.onnx, model_card.json and SHA256SUMS; None = no export, as for
            the trials of a search.
        settings: see `BinTrainSettings`.
        work_dir: folder of runs, with the checkpoints of each; STOCKTAKE_WORK_DIR, or else
            `settings.project`, when None.
        on_epoch: called after every epoch with its metrics and its number, from 1, instead of `tracking`; an
            exception from it stops the training.
        monitor: of `monitoring`; its rules may end the run early, which is no error. Over several devices
            the first rank watches with a monitor of the same settings.
        on_done_epoch: called like `on_epoch`, but for the epochs that an earlier process has done; where
            both are None `tracking` is told of these, too.

    Raises:
        SettingsError: a setting is impossible, here or on this machine, or memory is too small for it.
        DataError: the index has no photos to learn from or to measure on, or counts beyond its classes.
        StoreError: a photo can't be read, or there is not enough room for the run.
        ModelError: the weights to start from can't be used, or the loss was lost.
    """
    settings = settings or BinTrainSettings()
    begun = time.monotonic()
    if monitor:
        monitor.restart_clock()
    index, run, start, arguments = _begin(index_path, settings, work_dir, monitor)
    with run.hold(), keep_in_store(run, arguments["identity"], settings.resume):
        done = run.epochs_done()
        retell = on_done_epoch or (tracking.log_metrics if on_epoch is None else None)
        if retell:
            tell_again(run.path, done, retell)
        _run_epochs(run, done, arguments, settings, on_epoch, monitor)
    result = json.loads(run.result.read_text()) | {"rules": read_summary(run.path)}
    if model_dir is not None:
        from stocktake.bins.export import export_model

        name = f"ResNet50, {settings.head}, {start.description}, {result['epochs']} epochs"
        export_model(run.best, model_dir, index, name=name, metrics=result["metrics"])
    return TrainResult(
        model_dir=model_dir,
        run_dir=run.path,
        weights=run.best,
        start=start.description,
        resumed_from=done,
        seconds=time.monotonic() - begun,
        **result,
    )


def help_train(
    index_path: Path,
    settings: BinTrainSettings,
    work_dir: Path | None = None,
    monitor: "TrainingMonitor | None" = None,
) -> None:
    """Be a further node of a training: what `train` does on the first one, without its run and its model.

    Returns when the training has ended. Both continue from the checkpoint in the store.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` does.
    """
    _, run, _, arguments = _begin(index_path, settings, work_dir, monitor)
    with run.hold(), keep_in_store(run, arguments["identity"], settings.resume):
        if run.state() in (State.NEW, State.STOPPED):
            _train(run, arguments, settings, lambda *_: None, monitor)


def _begin(
    index_path: Path, settings: BinTrainSettings, work_dir: Path | None, monitor: "TrainingMonitor | None"
) -> tuple[DatasetIndex, RunFolder, "Start", dict[str, Any]]:
    """The photos, the folder of the run, what it starts from, and what each rank is told."""
    let_threads_sleep()
    from stocktake.bins.checkpoints import read_progress

    index = DatasetIndex.read(index_path)
    classes = check_photos(index, settings.batch_size)
    check_machine(settings)
    places = load_settings()
    cache_dir = places.cache.absolute()
    root = (work_dir or places.work_dir or Path(settings.project)).absolute()
    check_room(index, root, cache_dir)
    start = resolve_weights(settings.weights, cache_dir)
    identity = {
        **settings.identity,
        "start": start.identity,
        "photos": index.digest,
        "classes": list(classes),
        **rules_identity(monitor),
    }
    run = open_run(root, settings.name, identity, settings.resume, read_progress)
    log.info("training %s on %d photos in %s", start.description, len(index.split("train")), run.path)
    arguments = {
        "index": str(index_path.absolute()),
        "classes": classes,
        "settings": asdict(settings),
        "run": str(run.path),
        "start": start.checkpoint and str(start.checkpoint),
        "rules": None,
        "identity": identity,
    }
    return index, run, start, arguments


def _run_epochs(
    run: RunFolder,
    done: int,
    arguments: dict[str, Any],
    settings: BinTrainSettings,
    on_epoch: EpochHook | None,
    monitor: "TrainingMonitor | None",
) -> None:
    """Bring a run, of which so many epochs are done, to its end from wherever it is."""
    state = run.state()
    if state is State.MEASURED:
        log.info("%s: this run is complete already; it is only exported", run.path)
        judge_again(monitor, run.path)
        return
    if done:
        log.info("resuming %s after %d of %d epochs", run.path, done, settings.epochs)
    if state is not State.TRAINED:
        hook = keep_epochs(run.path, on_epoch or tracking.log_metrics)
        with and_then(lambda: log_answers(run.path)):
            _train(run, arguments, settings, hook, monitor)
    else:
        judge_again(monitor, run.path, is_measured=False)
    _write_result(run)


def _train(
    run: RunFolder,
    arguments: dict[str, Any],
    settings: BinTrainSettings,
    on_epoch: EpochHook,
    monitor: "TrainingMonitor | None",
) -> None:
    ranks = len(settings.devices)
    try:
        if ranks > 1 or node_count() > 1:
            arguments = {**arguments, "rules": monitor and asdict(monitor.settings)}
            _decode(arguments, settings)
            launch_ranks("stocktake.bins.rank", arguments, ranks, run.path, on_epoch)
        else:
            from stocktake.bins.rank import train_rank

            train_rank(arguments, on_epoch, monitor)
    except OSError as error:
        raise StoreError(explain_os_error(error, error.filename or run.path)) from error


def _decode(arguments: dict[str, Any], settings: BinTrainSettings) -> None:
    """Do once what each rank would do for itself."""
    from stocktake.bins.loading import open_photos

    index = DatasetIndex.read(Path(arguments["index"]))
    for split in ("train", "val"):
        open_photos(index, split, arguments["classes"], settings.img, settings.squares)


def _write_result(run: RunFolder) -> None:
    from stocktake.bins.checkpoints import strip
    from stocktake.bins.network import read_checkpoint

    progress = read_checkpoint(run.last, mmap=True)["training"]["progress"]
    result = {
        "metrics": progress["best"],
        "best_epoch": progress["best_epoch"],
        "epochs": progress["epoch"],
        "stopped": progress["stopped"],
    }
    with atomic_path(run.result) as part:
        part.write_text(json.dumps(result, indent=2))
    strip(run.last)

"""Trains the shelf detector: a prepared index in, a model dir out."""

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake import tracking
from stocktake.checkpoint_store import keep_in_store
from stocktake.dataset import DatasetIndex
from stocktake.devices import advise_on_memory, check_devices
from stocktake.epoch_log import keep_epochs, tell_again
from stocktake.errors import DataError, StoreError
from stocktake.files import atomic_path, explain_os_error, require_room
from stocktake.launch import EpochHook, launch_ranks
from stocktake.monitoring.run_files import and_then, judge_again, log_answers, read_summary, rules_identity
from stocktake.run_folder import RunFolder, State
from stocktake.settings import load_settings
from stocktake.shelf.hyp import load_hyp
from stocktake.shelf.loading import loading_workers
from stocktake.shelf.run_folder import open_run
from stocktake.shelf.train_settings import NMS_IOU, TrainSettings
from stocktake.shelf.weights import Start, resolve_weights
from stocktake.shelf.yolo_labels import write_tree

if TYPE_CHECKING:
    from stocktake.monitoring.monitor import TrainingMonitor

log = logging.getLogger(__name__)

# one with its optimizer; two are kept
CHECKPOINT_BYTES = {"n": 16e6, "s": 56e6, "m": 152e6, "l": 322e6, "x": 586e6}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came out of a training."""

    model_dir: Path
    run_dir: Path
    weights: Path  # the best checkpoint
    start: str  # what it started from
    metrics: dict[str, float]  # val/ap50, val/ap, val/precision, val/recall, val/f1
    score_threshold: float
    epochs: int
    rules: str  # a line for each training rule; '' where nobody watched
    resumed_from: int  # epochs that an earlier process had done
    seconds: float


def train(
    index_path: Path,
    model_dir: Path,
    settings: TrainSettings | None = None,
    work_dir: Path | None = None,
    on_epoch: EpochHook | None = None,
    monitor: "TrainingMonitor | None" = None,
) -> TrainResult:
    """Train YOLOv5 on the train photos of an index, choose by its val photos, export to a model dir.

    A run that was killed continues from its last checkpoint when it is called again with the same settings
    and photos, on another machine too where `checkpoint_store` is used; one that had finished is only
    exported again. Metrics of every epoch go to the open run of `tracking`.

    Args:
        index_path: a prepared index.parquet.
        model_dir: gets weights.pt, model.onnx, model_card.json and SHA256SUMS.
        settings: see `TrainSettings`.
        work_dir: folder of runs, with the photos in YOLO's layout, checkpoints and results.csv of each;
            STOCKTAKE_WORK_DIR, or else `settings.project`, when None.
        on_epoch: called after every epoch with its metrics and its number, from 1, instead of `tracking`,
            which is also told what an earlier process has done; an exception from it stops the training.
        monitor: of `monitoring`; its rules may end the run early, which is no error. Over several devices
            the first rank watches with a monitor of the same settings.

    Raises:
        SettingsError: a setting is impossible, here or on this machine.
        DataError: the index has no photos or no products to learn from or to measure on.
        StoreError: a photo can't be read, or there is not enough room for the run.
        ModelError: the weights to start from can't be used, or the loss was lost.
    """
    from stocktake.shelf.export import export_model

    settings = settings or TrainSettings()
    begun = time.monotonic()
    index = DatasetIndex.read(index_path)
    if monitor:
        monitor.restart_clock()
    check_photos(index)
    check_devices(settings.device)
    places = load_settings()
    cache_dir = places.cache.absolute()
    overrides = ultralytics_arguments(settings)
    start = resolve_weights(settings.weights, settings.model, cache_dir)
    root = (work_dir or places.work_dir or Path(settings.project)).absolute()
    check_room(index, settings, start, root, cache_dir)
    identity = {
        **settings.identity,
        "hyp": load_hyp(settings.hyp).values,
        "start": start.identity,
        "photos": index.digest,
        **rules_identity(monitor),
    }
    run = open_run(root, settings.name, identity, settings.resume)
    log.info("training %s on %d photos in %s", start.description, len(index.split("train")), run.path)
    with run.hold(), keep_in_store(run, identity, settings.resume):
        resumed_from = _run_epochs(run, index, start, overrides, settings, cache_dir, on_epoch, monitor)
    result = json.loads(run.result.read_text())
    export_model(
        run.best,
        model_dir,
        settings.img,
        index,
        name=f"YOLOv5, {start.description}, {result['epochs']} epochs",
        score_threshold=result["score_threshold"],
        metrics=result["metrics"],
    )
    seconds = time.monotonic() - begun
    return TrainResult(
        model_dir=model_dir,
        run_dir=run.path,
        weights=run.best,
        start=start.description,
        rules=read_summary(run.path),
        resumed_from=min(resumed_from, result["epochs"]),  # patience may have ended it early
        seconds=seconds,
        **result,
    )


def ultralytics_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Our settings and the hyp file's by ultralytics' names; without the model and the photos."""
    values = dict(load_hyp(settings.hyp).values)
    accumulate = values.pop("accumulate", True)
    if settings.optimizer:
        values["optimizer"] = settings.optimizer
    if settings.lr0:
        values["lr0"] = settings.lr0
    if not accumulate and settings.batch > 0:
        values["nbs"] = settings.batch
    return {
        **values,
        "epochs": settings.epochs,
        "time": settings.hours,
        "imgsz": settings.img,
        "batch": settings.batch,
        "cache": settings.cache or False,
        "freeze": settings.freeze or None,
        "patience": settings.patience,
        "device": "cpu" if "cpu" in settings.devices else ",".join(settings.devices),
        "workers": loading_workers(settings),
        "seed": settings.seed,
        "amp": settings.amp,
        "iou": NMS_IOU,
        "deterministic": True,
        "plots": False,
        "verbose": False,
        "exist_ok": True,
    }


def check_photos(index: DatasetIndex) -> None:
    """Raise DataError unless there are train photos and val photos, each with products in them."""
    for split in ("train", "val"):
        photos = index.split(split)
        boxes = sum(len(photo.boxes) for photo in photos)
        if not boxes:
            raise DataError(
                f"the index has {len(photos)} {split} photos with {boxes} products; training needs products"
                " in train and in val. Look at the data report of the ingest"
            )


def check_room(
    index: DatasetIndex, settings: TrainSettings, start: Start, root: Path, cache_dir: Path
) -> None:
    """Raise StoreError unless the disks have room for the photos and the checkpoints of the run."""
    photos = sum(p.length for p in index.photos if not (cache_dir / p.sha256).is_file())
    decoded = sum(p.width * p.height * 3 for p in index.photos) if settings.cache == "disk" else 0
    if start.checkpoint:
        # two, each in fp32 with two moments for fp16 alone
        checkpoints = 2 * 6 * start.checkpoint.stat().st_size
    else:
        checkpoints = int(2 * CHECKPOINT_BYTES[start.model.removeprefix("yolov5")[0]])
    advice = "choose other places: STOCKTAKE_CACHE for photos, project otherwise"
    require_room(cache_dir, photos, advice)
    require_room(root, decoded + checkpoints, advice)


def _run_epochs(
    run: RunFolder,
    index: DatasetIndex,
    start: Start,
    overrides: dict[str, Any],
    settings: TrainSettings,
    cache_dir: Path,
    on_epoch: EpochHook | None,
    monitor: "TrainingMonitor | None",
) -> int:
    """Bring a run to its end from wherever it is; return the epochs that had been done before."""
    state = run.state()
    done = run.epochs_done()
    if on_epoch is None:
        tell_again(run.path, done, tracking.log_metrics)
    if state is State.MEASURED:
        log.info("%s: this run is complete already; it is only exported", run.path)
        judge_again(monitor, run.path)
        return done
    data_yaml = write_tree(index, run.path / "photos", cache_dir)
    arguments = {**overrides, "data": str(data_yaml), "project": str(run.path.parent), "name": run.path.name}
    if state is State.STOPPED:
        log.info("resuming %s after %d of %d epochs", run.path, done, settings.epochs)
        arguments |= {"resume": str(run.last), "save_dir": str(run.path), "time": None}
    else:
        arguments["model"] = start.model
    if state is not State.TRAINED:
        hook = keep_epochs(run.path, on_epoch or tracking.log_metrics)
        with and_then(lambda: log_answers(run.path)):
            _train(run, arguments, settings, hook, monitor)
    else:
        judge_again(monitor, run.path, is_measured=False)
    _measure(run, data_yaml, settings)
    return done


def _train(
    run: RunFolder,
    arguments: dict[str, Any],
    settings: TrainSettings,
    on_epoch: EpochHook,
    monitor: "TrainingMonitor | None",
) -> None:
    ranks = len(settings.devices)
    try:
        with advise_on_memory(f"a batch of {settings.batch} photos of {settings.img} px", "batch or img"):
            if ranks > 1:
                arguments = {**arguments, "rules": monitor and asdict(monitor.settings)}
                launch_ranks("stocktake.shelf.trainer", arguments, ranks, run.path, on_epoch)
            else:
                from stocktake.shelf.trainer import train_rank

                train_rank(arguments, on_epoch, monitor)
    except OSError as error:
        raise StoreError(explain_os_error(error, error.filename or run.path)) from error


def _measure(run: RunFolder, data_yaml: Path, settings: TrainSettings) -> None:
    from stocktake.shelf.trainer import measure, strip

    for checkpoint in (run.last, run.best):
        strip(checkpoint)
    device = settings.devices[0]
    batch = max(settings.batch // len(settings.devices), 1) if settings.batch > 0 else 16
    found = measure(run.best, data_yaml, settings.img, batch, device, run.path)
    epochs = int((run.path / "results.csv").read_text().splitlines()[-1].split(",")[0])
    with atomic_path(run.result) as part:
        part.write_text(json.dumps({**asdict(found), "epochs": epochs}, indent=2))
    shutil.rmtree(data_yaml.parent)  # the photos stay in the cache

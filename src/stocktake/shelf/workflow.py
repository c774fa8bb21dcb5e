"""From photos to a scored model in one call, without pipelines: what the training image runs."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stocktake import tracking
from stocktake.claim import claim
from stocktake.dataset import DatasetIndex
from stocktake.devices import check_devices
from stocktake.errors import SettingsError
from stocktake.evaluation_files import EvaluationResult
from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.run_files import rules_identity
from stocktake.shelf.evaluation import evaluate
from stocktake.shelf.hyp import load_hyp
from stocktake.shelf.label_prep import prepare
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.sku110k_source import check_source
from stocktake.shelf.thresholds import set_thresholds
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import TrainResult, train
from stocktake.shelf.weights import check_weights
from stocktake.shelf.yolo_folder import read_yolo_folder

INDEX_FILE = "index.parquet"
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class WorkflowResult:
    """Where things are after `train_from`; `evaluation` is None where it was not asked for."""

    folder: Path
    training: TrainResult
    evaluation: EvaluationResult | None


def train_from(
    data: str,
    settings: TrainSettings,
    exclude: str = "unreadable",
    limit: int | None = None,
    score: bool = True,
    monitor: TrainingMonitor | None = None,
) -> WorkflowResult:
    """Ingest, prepare, train, export and evaluate; the same call continues after a kill.

    Everything goes below `settings.project`/`settings.name`: ingest/, prepared/, train/, model/, evaluation/.

    Args:
        data: photos in SKU-110K's layout (folder, tar, URL, s3:// prefix), a data.yaml in YOLO's layout, or
            an index.parquet, prepared or not.
        settings: of the training.
        exclude: photos to leave out, see `ingest`; only of photos in SKU-110K's layout.
        limit: at most this many photos per split, for a quick look; only of photos in SKU-110K's layout.
        score: evaluate on the test photos, or on the val photos where there are none.
        monitor: watches the training, see `train`.

    Raises:
        SettingsError: the folder belongs to a training of other data or settings, or `exclude` or `limit` is
            given with data that is indexed already or in YOLO's layout.
        DataError, StoreError, ModelError: as the steps do.
    """
    _check_selection(data, exclude, limit)
    folder = Path(settings.project) / settings.name
    _check(data, settings)
    identity = {"data": data, "exclude": exclude, "limit": limit, **settings.identity}
    claim(folder, {**identity, **rules_identity(monitor)})
    index_path, index = _prepared_index(data, folder, exclude, limit)
    with tracking.start_run(settings.name, tags={"dataset": index.digest}):
        inner = replace(settings, name="train")
        trained, _ = train_detector(index_path, folder / "model", inner, folder, monitor)
        evaluation = None
        split = "test" if index.split("test") else "val"
        if score:
            evaluation = evaluate(trained.model_dir, index_path, folder / "evaluation", split=split)
    return WorkflowResult(folder, trained, evaluation)


def train_detector(
    index_path: Path,
    model_dir: Path,
    settings: TrainSettings,
    work_dir: Path | None = None,
    monitor: TrainingMonitor | None = None,
) -> tuple[TrainResult, str]:
    """Train, export and choose thresholds; the settings go to the open run of `tracking`.

    Args:
        index_path, model_dir, settings, work_dir, monitor: see `train`.

    Returns:
        What `train` returns, and the digest of the model dir.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` and `set_thresholds` do.
    """
    tracking.log_params(asdict(settings), "train")
    result = train(index_path, model_dir, settings, work_dir, monitor=monitor)
    return result, set_thresholds(result.model_dir, index_path)


def _check_selection(data: str, exclude: str, limit: int | None) -> None:
    """Refuse a choice of photos where nothing would heed it."""
    if not data.endswith((".parquet", *YAML_SUFFIXES)):
        return
    for name, found, default in (("exclude", exclude, "unreadable"), ("limit", limit, None)):
        if found != default:
            raise SettingsError(
                f"{name} is {found!r}, which cannot be applied to {data}; leave it out, "
                "or pass it to `stocktake shelf ingest`"
            )


def _check(data: str, settings: TrainSettings) -> None:
    """Refuse before the ingest what the training would refuse after it."""
    check_weights(settings.weights, settings.model)
    load_hyp(settings.hyp)
    check_devices(settings.device)
    check_source(data)  # a file of any kind is one of its sources


def _prepared_index(data: str, folder: Path, exclude: str, limit: int | None) -> tuple[Path, DatasetIndex]:
    """The prepared index of any kind of `data`, and where it is; made where it is not there yet."""
    raw, path = folder / "ingest" / INDEX_FILE, folder / "prepared" / INDEX_FILE
    if data.endswith(".parquet"):
        raw = Path(data)
        given = DatasetIndex.read(raw)
        if "made_from" in given.metadata:  # what `prepare` notes
            return raw, given
    elif data.endswith(YAML_SUFFIXES):
        read_yolo_folder(Path(data)).write(raw)
    else:
        ingest(data, raw.parent, exclude=exclude, limit=limit)
    prepare(raw, path.parent)
    return path, DatasetIndex.read(path)

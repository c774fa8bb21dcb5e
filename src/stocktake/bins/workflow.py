"""From photos to a scored model in one call, without pipelines: what the training image runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from stocktake import tracking
from stocktake.bins import CLASSES
from stocktake.bins.abid import ingest
from stocktake.bins.counter import BinCounter
from stocktake.bins.evaluation import evaluate
from stocktake.bins.split import check_classes, prepare
from stocktake.bins.thresholds import set_thresholds
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.bins.training import TrainResult, train
from stocktake.bins.training_checks import check_machine
from stocktake.bins.verification import ERROR_RATE, check_error_rate
from stocktake.bins.weights import resolve_weights
from stocktake.claim import claim
from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError
from stocktake.evaluation_files import EvaluationResult
from stocktake.launch import EpochHook
from stocktake.monitoring.monitor import TrainingMonitor
from stocktake.monitoring.run_files import rules_identity
from stocktake.settings import load_settings
from stocktake.storage import open_store

INDEXED = ".parquet"


@dataclass(frozen=True, slots=True)
class BinData:
    """Which photos to learn from.

    `source`: bins in ABID's layout (folder, s3:// prefix, https:// address of a public bucket), or an
    index.parquet, prepared or not, which may lie in a store. `classes`: the counts to tell apart; where None
    those of a prepared index, or else 1 to 5. `file_list`, `quota` and `limit` are those of `ingest`.
    """

    source: str
    classes: Sequence[int] | None = None
    file_list: Path | None = None
    quota: int | dict[int, int] | None = None
    limit: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The same for the same photos, as JSON."""
        file_list = self.file_list and str(self.file_list)
        return {**asdict(self), "classes": list(self.classes or CLASSES), "file_list": file_list}


@dataclass(frozen=True, slots=True)
class WorkflowResult:
    """Where things are after `train_from`; `evaluation` is None where it was not asked for."""

    folder: Path
    training: TrainResult
    evaluation: EvaluationResult | None


def train_from(
    data: BinData,
    settings: BinTrainSettings,
    error_rate: float = ERROR_RATE,
    score: bool = True,
    on_epoch: EpochHook | None = None,
    monitor: TrainingMonitor | None = None,
    on_done_epoch: EpochHook | None = None,
) -> WorkflowResult:
    """Ingest, prepare, train, export, choose thresholds and evaluate; the same call continues after a kill.

    Everything goes below `settings.project`/`settings.name`: ingest/, prepared/, train/, model/, evaluation/.

    Args:
        data: the photos.
        settings: of the training.
        error_rate: of verification, see `choose_settings`.
        score: evaluate on the test photos, or on the val photos where there are none.
        on_epoch, monitor, on_done_epoch: see `train`.

    Raises:
        SettingsError: the folder belongs to a training of other data or settings, a setting is impossible,
            photos are to be selected from data that is indexed already, or an index was prepared for other
            classes.
        DataError, StoreError, ModelError: as the steps do.
    """
    asked, data = data, replace(data, source=_at_hand(data.source))
    _check(data, settings, error_rate)
    given = DatasetIndex.read(Path(data.source)) if data.source.endswith(INDEXED) else None
    data = replace(data, classes=_classes(data, given))
    folder = Path(settings.project) / settings.name
    photos = replace(data, source=asked.source).identity
    claim(folder, {**photos, **settings.identity, **rules_identity(monitor)})
    index_path, index = _prepared_index(data, given, folder)
    model_dir, inner = folder / "model", replace(settings, name="train")
    with tracking.start_run(settings.name, BinCounter.TASK, tags={"dataset": index.digest}):
        hooks = (on_epoch, monitor, on_done_epoch)
        trained, _ = train_counter(index_path, model_dir, inner, folder, error_rate, *hooks)
        split = "test" if index.split("test") else "val"
        evaluation = evaluate(model_dir, index_path, folder / "evaluation", split) if score else None
    return WorkflowResult(folder, trained, evaluation)


def train_counter(
    index_path: Path,
    model_dir: Path,
    settings: BinTrainSettings,
    work_dir: Path | None = None,
    error_rate: float = ERROR_RATE,
    on_epoch: EpochHook | None = None,
    monitor: TrainingMonitor | None = None,
    on_done_epoch: EpochHook | None = None,
) -> tuple[TrainResult, str]:
    """Train, export and choose thresholds; the settings go to the open run of `tracking`.

    Args:
        index_path, model_dir, settings, work_dir, on_epoch, monitor, on_done_epoch: see `train`.
        error_rate: of verification, see `choose_settings`.

    Returns:
        What `train` returns, and the digest of the model dir.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` and `set_thresholds` do.
    """
    tracking.log_params(asdict(settings), "train")
    result = train(index_path, model_dir, settings, work_dir, on_epoch, monitor, on_done_epoch)
    return result, set_thresholds(model_dir, index_path, error_rate=error_rate)


def _check(data: BinData, settings: BinTrainSettings, error_rate: float) -> None:
    """Refuse before the ingest what would be refused after it, weights that cannot be had among it."""
    check_error_rate(error_rate)
    check_classes(data.classes or CLASSES)
    check_machine(settings)
    for name in ("file_list", "quota", "limit") if data.source.endswith(INDEXED) else ():
        if (found := getattr(data, name)) is not None:
            raise SettingsError(
                f"{name} is {found!r}, which cannot be applied to {data.source}; leave it out, or pass it to "
                "`stocktake bins ingest`"
            )
    resolve_weights(settings.weights, load_settings().cache.absolute())  # last, since it may download


def _at_hand(source: str) -> str:
    """An index in a store as a file of the cache; any other source as it is."""
    if "://" not in source or not source.endswith(INDEXED):
        return source
    place, _, name = source.rpartition("/")
    path = load_settings().cache / "indexes" / f"{sha256(source.encode()).hexdigest()}.parquet"
    open_store(place).get_to(name, path)
    return str(path)


def _classes(data: BinData, given: DatasetIndex | None) -> Sequence[int]:
    if given is None or not _is_prepared(given):
        return data.classes or CLASSES
    known: list[int] = given.metadata["classes"]
    if data.classes is not None and sorted(data.classes) != sorted(known):
        raise SettingsError(
            f"classes is {list(data.classes)}, but {data.source} was prepared for {known}; leave it out, or"
            " prepare the photos again with `stocktake bins prepare`"
        )
    return known


def _is_prepared(index: DatasetIndex) -> bool:
    return {"made_from", "classes"} <= index.metadata.keys()  # what `prepare` notes


def _prepared_index(data: BinData, given: DatasetIndex | None, folder: Path) -> tuple[Path, DatasetIndex]:
    """The prepared index of any kind of `data`, of which `given` is the one at hand; made where it is not."""
    raw = Path(data.source)
    if given is None:
        raw = ingest(
            data.source,
            folder / "ingest",
            file_list=data.file_list,
            quota=data.quota,
            limit=data.limit,
        )
    elif _is_prepared(given):
        return raw, given
    path = prepare(raw, folder / "prepared", data.classes or CLASSES)
    return path, DatasetIndex.read(path)

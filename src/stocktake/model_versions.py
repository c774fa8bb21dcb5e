"""Single steps on MLflow's registry: create, find, tag, measure a version; `registry` makes verbs of them."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocktake import tracking
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError
from stocktake.mlflow_server import clean_name
from stocktake.model_card import CARD_FILE, SUMS_FILE, ModelCard

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered model dir."""

    name: str
    version: int
    model_uri: str  # a folder or s3://bucket/prefix that holds the model dir
    digest: str  # SHA-256 of its SHA256SUMS
    model_id: str  # MLflow's logged model, which carries the metrics
    task: str  # of its card

    @property
    def uri(self) -> str:
        """'models:/name/version'."""
        return f"models:/{self.name}/{self.version}"


def create_version(
    model_dir: Path, card: ModelCard, name: str, uri: str, digest: str, run_id: str
) -> ModelVersion:
    """Make a logged model of card and checksums, and the next version of `name` from it."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.exceptions import MlflowException

    registry = client()
    tags = {"model_uri": uri, "digest": digest, "task": card.task, "dataset_digest": card.dataset_digest}
    experiment = registry.get_run(run_id).info.experiment_id
    model = registry.create_logged_model(experiment, name, run_id, tags, model_type=card.task)
    for file in (CARD_FILE, SUMS_FILE):
        registry.log_model_artifact(model.model_id, str(model_dir / file))
    registry.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    try:
        registry.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags["model_id"] = model.model_id
    source = f"models:/{model.model_id}"
    return _version(registry.create_model_version(name, source, run_id, tags, model_id=model.model_id))


def find_digest(name: str, digest: str) -> ModelVersion | None:
    """The first version that has these files."""
    found = client().search_model_versions(f"name = '{name}' and tags.digest = '{digest}'")
    return _version(min(found, key=lambda version: int(version.version))) if found else None


def find_alias(name: str, alias: str) -> ModelVersion | None:
    """The version that an alias points to."""
    return _found(lambda: client().get_model_version_by_alias(name, alias))


def find_number(name: str, number: str) -> ModelVersion | None:
    """The version of a number."""
    return _found(lambda: client().get_model_version(name, number))


def version_numbers(name: str) -> list[int]:
    """The versions that a name has."""
    return sorted(int(version.version) for version in client().search_model_versions(f"name = '{name}'"))


def recorded_metrics(version: ModelVersion, photos: DatasetIndex, code: str) -> dict[str, float]:
    """The last figures of a version on exactly these photos; empty where this code made none."""
    found = client().get_model_version(version.name, str(version.version)).tags
    if found.get(_code_tag(photos)) != code:
        return {}
    recorded = client().get_logged_model(version.model_id).metrics or []
    mine = [metric for metric in recorded if metric.dataset_digest == tracking.dataset_digest(photos)]
    return {metric.key: metric.value for metric in sorted(mine, key=lambda metric: metric.timestamp)}


def record_metrics(
    version: ModelVersion, metrics: Mapping[str, float], photos: DatasetIndex, run_id: str, code: str
) -> None:
    """Attach figures to a version and to a run, with the name and digest of the photos they come from.

    `code` is the `code_version` that made them.
    """
    from mlflow.entities import LoggedModelInput, Metric

    # MLflow stores NaN as 0 beside a logged model, which a gate would take for a figure.
    finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    if len(finite) < len(metrics):
        logger.warning(
            "%s: not recorded, since not finite: %s", version.uri, ", ".join(metrics.keys() - finite)
        )
    dataset = tracking.dataset_input(photos, "evaluation")
    client().log_inputs(run_id, [dataset], [LoggedModelInput(version.model_id)])
    about = {
        "model_id": version.model_id,
        "dataset_name": dataset.dataset.name,
        "dataset_digest": dataset.dataset.digest,
    }
    now = int(time.time() * 1000)
    batch = [Metric(clean_name(name), value, now, 0, **about) for name, value in finite.items()]
    client().log_batch(run_id, metrics=batch)
    set_tags(version, {_code_tag(photos): code})


def _code_tag(photos: DatasetIndex) -> str:
    return f"code.{tracking.dataset_digest(photos)}"


def client() -> Any:
    """MLflow's client for the URI that `configure` chose."""
    import mlflow

    return mlflow.MlflowClient()


def set_tags(version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        client().set_model_version_tag(version.name, str(version.version), key, value)


def set_alias(version: ModelVersion, alias: str) -> None:
    """Point an alias of the version's model to it."""
    client().set_registered_model_alias(version.name, alias, str(version.version))


def _found(look_up: Callable[[], Any]) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return _version(look_up())
    except MlflowException as error:
        # An alias that is not set is an invalid value to MLflow, an unknown name or version does not exist.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _version(entity: Any) -> ModelVersion:
    wanted = ("model_uri", "digest", "model_id", "task")
    missing = set(wanted) - entity.tags.keys()
    if missing:
        raise ModelError(
            f"models:/{entity.name}/{entity.version}: no tag {', '.join(sorted(missing))}, so it was not "
            "registered by stocktake; register its model dir with `stocktake shelf register`, or `bins`"
        )
    return ModelVersion(entity.name, int(entity.version), *(entity.tags[tag] for tag in wanted))

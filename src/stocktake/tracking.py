"""Runs, parameters, metrics and artefacts in MLflow.

A run is opened by whoever starts the work (a verb, a pipeline step); what works inside it calls the `log_*`
functions, which go to the open run of the calling thread and do nothing where there is none. A wrong server
is an error when the run starts; once it has started, a failing server costs a warning, never the hours spent.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake.dataset import DatasetIndex
from stocktake.errors import SettingsError, StocktakeError
from stocktake.mlflow_server import clean_name, configure, experiment_id, first_line

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class RunStopped(Exception):
    """Raised inside a run to end it before its time on purpose: MLflow shows it as KILLED, not as FAILED."""


@dataclass(slots=True)
class _Run:
    id: str
    failures: int = 0
    unsent: list[Any] = field(default_factory=list)  # metrics that the server has not taken yet


_current: ContextVar[_Run | None] = ContextVar("stocktake_run", default=None)


@contextmanager
def start_run(
    name: str,
    experiment: str = "shelf-detector",
    tags: Mapping[str, str] | None = None,
    uri: str | None = None,
    run_id: str | None = None,
) -> Iterator[str]:
    """Open a run for the block and yield its id; it ends as FINISHED, FAILED or KILLED.

    Resumes the run `run_id`, which an earlier step has opened, or that of MLFLOW_RUN_ID where a pipeline has
    set it. Otherwise creates one: below the run that is open, or that of MLFLOW_PARENT_RUN_ID, in its
    experiment; or at the top of `experiment`.

    Raises:
        SettingsError: `uri` does not answer, or it has no run of that id.
    """
    configure(uri)
    run = _Run(_open(name, experiment, dict(tags or {}), run_id))
    token = _current.set(run)
    status = "FINISHED"
    try:
        yield run.id
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt | RunStopped) else "FAILED"
        tag = "stopped" if isinstance(error, RunStopped) else "error"
        set_tags({tag: f"{type(error).__name__}: {first_line(error)}"})
        raise
    finally:
        _close(run, status)
        _current.reset(token)


def log_params(params: Mapping[str, Any], prefix: str) -> None:
    """Log parameters as 'prefix.key', nested mappings as 'prefix.key.key'.

    MLflow's parameters can't be changed and Kubeflow logs its own ones into the same run, hence the prefix.
    """

    def send(client: Any, run_id: str) -> None:
        from mlflow.entities import Param

        flat = [Param(clean_name(key), str(value)) for key, value in _flatten(params, prefix)]
        client.log_batch(run_id, params=flat)

    _send("parameters", send)


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log scalars, of an epoch where `step` is given; what a server did not take goes with the next."""
    run = _current.get()
    if run is None:
        return
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    run.unsent += [Metric(clean_name(name), float(value), now, step or 0) for name, value in metrics.items()]
    _flush(run)


def log_table(rows: Sequence[Mapping[str, Any]], path: str) -> None:
    """Log rows as a table that the UI compares across runs; replaces `path`, which ends in '.json'."""

    def send(client: Any, run_id: str) -> None:
        import pandas as pd

        table = pd.DataFrame(list(rows))
        folder = path.rpartition("/")[0] or None
        if any(artifact.path == path for artifact in client.list_artifacts(run_id, folder)):
            # MLflow's log_table appends, and a step that is retried would count its rows twice.
            client.log_text(run_id, table.to_json(orient="split", index=False), path)
        else:
            client.log_table(run_id, table, path)

    _send(path, send)


def log_figure(figure: "Figure", path: str) -> None:
    """Log a matplotlib figure as `path`, for example 'plots/pr.png'."""
    _send(path, lambda client, run_id: client.log_figure(run_id, figure, path))


def log_image(image: "np.ndarray", key: str, step: int | None = None) -> None:
    """Log an (H, W, 3) uint8 RGB image: a file at `key`, or with `step` a frame of that slider in the UI."""
    if step is None:
        _send(key, lambda client, run_id: client.log_image(run_id, image, key))
    else:
        _send(key, lambda client, run_id: client.log_image(run_id, image, key=clean_name(key), step=step))


def log_html(html: str, path: str) -> None:
    """Log a page as `path`, for example 'report.html'; the UI shows it."""
    _send(path, lambda client, run_id: client.log_text(run_id, html, path))


def log_artifacts(source: Path, folder: str | None = None) -> None:
    """Log a file, or everything in a folder, under `folder` of the run."""

    def send(client: Any, run_id: str) -> None:
        log = client.log_artifacts if source.is_dir() else client.log_artifact
        log(run_id, str(source), folder)

    _send(source.name, send)


def log_dataset(index: DatasetIndex, context: str) -> None:
    """Log which photos the run used. `context` is 'training' or the name of a split."""

    def send(client: Any, run_id: str) -> None:
        client.log_inputs(run_id, [dataset_input(index, context)])

    _send("the data set", send)
    set_tags({f"dataset.{context}.digest": index.digest})


def set_tags(tags: Mapping[str, str]) -> None:
    """Set tags of the open run; unlike parameters they may be changed."""

    def send(client: Any, run_id: str) -> None:
        from mlflow.entities import RunTag

        client.log_batch(run_id, tags=[RunTag(clean_name(key), str(value)) for key, value in tags.items()])

    _send("tags", send)


def fail_run(run_id: str, reason: str) -> None:
    """End another run as FAILED, in the place of its process, which has died."""

    def send(client: Any, _own: str) -> None:
        client.set_tag(run_id, "error", reason)
        client.set_terminated(run_id, "FAILED")

    _send("the end of another run", send)


def current_run() -> str | None:
    """The id of the open run."""
    run = _current.get()
    return run.id if run else None


def dataset_name(index: DatasetIndex) -> str:
    """What MLflow calls the photos of an index."""
    return str(index.metadata.get("name") or "photos")


def dataset_digest(index: DatasetIndex) -> str:
    """The index's digest at the length that MLflow has room for (36 characters)."""
    return index.digest[:36]


def dataset_input(index: DatasetIndex, context: str) -> Any:
    """The index as an MLflow `DatasetInput`: where its photos are and their digest, not the photos."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind = "s3" if index.store.startswith("s3://") else "local"
    profile = {"photos": len(index.photos), "products": sum(len(photo.boxes) for photo in index.photos)}
    dataset = Dataset(
        name=dataset_name(index),
        digest=dataset_digest(index),
        source_type=kind,
        source=json.dumps({"uri": index.store}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def _open(name: str, experiment: str, tags: dict[str, str], run_id: str | None) -> str:
    import mlflow

    # Taken out of the environment, or the next run inside this one would be the same again.
    inherited = os.environ.pop("MLFLOW_RUN_ID", None)
    resumed, outer = run_id or inherited, mlflow.active_run()
    parent = None if resumed or outer else os.environ.get("MLFLOW_PARENT_RUN_ID")
    try:
        above = mlflow.get_run(parent) if parent else outer
        run = mlflow.start_run(
            run_id=resumed,
            experiment_id=above.info.experiment_id if above else experiment_id(experiment),
            run_name=None if resumed else name,
            nested=outer is not None,
            parent_run_id=parent,
            tags=tags,
        )
    except Exception as error:
        named = f"MLFLOW_PARENT_RUN_ID {parent}" if parent else f"run {resumed}" if resumed else name
        raise SettingsError(
            f"{named}: MLflow at {mlflow.get_tracking_uri()} can't open the run ({first_line(error)}); "
            "check the run's id and that the server is the one that made it"
        ) from error
    return str(run.info.run_id)


def _close(run: _Run, status: str) -> None:
    import mlflow

    if run.unsent:
        _flush(run)
    _send("the end of the run", lambda _client, _id: mlflow.end_run(status))
    if run.failures:
        logger.warning(
            "MLflow failed %d times in run %s; %d metrics were never taken",
            run.failures,
            run.id,
            len(run.unsent),
        )


def _flush(run: _Run) -> None:
    if _send("metrics", lambda client, run_id: client.log_batch(run_id, metrics=run.unsent)):
        run.unsent = []


def _send(what: str, action: Callable[[Any, str], object]) -> bool:
    """Try an action on the open run; True where it was done."""
    run = _current.get()
    if run is None:
        return False
    import mlflow

    try:
        action(mlflow.MlflowClient(), run.id)
    except StocktakeError:
        raise
    except Exception as error:  # whatever a server, a proxy or a disk may do must not stop the work
        level = logging.DEBUG if run.failures else logging.WARNING
        run.failures += 1
        logger.log(level, "MLflow did not take %s (%s); the work goes on without it", what, first_line(error))
        return False
    return True


def _flatten(params: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value

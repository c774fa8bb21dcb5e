"""Where MLflow is: the URI in use, its SQLite file where there is no server, and its experiments."""

import fcntl
import logging
import os
import re
from pathlib import Path

from stocktake.errors import SettingsError
from stocktake.files import atomic_path, explain_os_error
from stocktake.settings import load_settings

DEFAULT_URI = "sqlite:///runs/mlflow.db"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's own 7 retries of 120 s would hold up every epoch of a training for minutes when a server dies.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def tracking_uri(uri: str | None = None) -> str:
    """Where everything is logged: the first that is set of `uri`, MLFLOW_TRACKING_URI and `DEFAULT_URI`.

    A relative SQLite path becomes absolute, so that child processes agree on it, and its folder is made.

    Raises:
        SettingsError: the folder cannot be made, or a variable has an impossible value.
    """
    uri = uri or load_settings().mlflow_tracking_uri or DEFAULT_URI
    path = _sqlite_path(uri)
    if path is None:
        return uri
    try:
        path = path.expanduser().absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"MLFLOW_TRACKING_URI {uri}: {explain_os_error(error, path.parent)}") from error
    return f"sqlite:///{path}"


def configure(uri: str | None = None) -> str:
    """Choose where everything is logged and make sure that it answers.

    Args:
        uri: 'http://host:5000' or 'sqlite:///folder/mlflow.db'; None takes MLFLOW_TRACKING_URI, or else
            `DEFAULT_URI`, which needs no server and no network.

    Returns:
        The URI in use, as `tracking_uri` gives it.

    Raises:
        SettingsError: nothing that can be used answers at the URI.
    """
    uri = tracking_uri(uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    for noisy in ("mlflow.store.db.utils", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        _make_database(uri)
        mlflow.MlflowClient(uri).search_experiments(max_results=1)
        mlflow.set_tracking_uri(uri)
    except Exception as error:  # each kind of store fails in its own way
        refused = "Invalid Host" in str(error)
        advice = (
            "add this host to the --allowed-hosts of the server"
            if refused
            else f"start the server, or give {DEFAULT_URI}, which needs none"
        )
        raise SettingsError(
            f"MLFLOW_TRACKING_URI {uri}: no MLflow that can be used ({first_line(error)}); {advice}"
        ) from error
    return uri


def experiment_id(name: str) -> str:
    """The id of an experiment, created where it is missing; artefacts of SQLite lie beside its file."""
    import mlflow

    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    database = _sqlite_path(mlflow.get_tracking_uri())
    location = (database.parent / "mlartifacts" / clean_name(name)).as_uri() if database else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except mlflow.MlflowException:  # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def clean_name(name: str) -> str:
    """A name that MLflow takes: 'metrics/mAP50(B)' becomes 'metrics/mAP50_B', 'mAP@0.5' becomes 'mAP_0.5'."""
    parts = (re.sub(r"[^\w\-. ]+", "_", part).strip("_") for part in name.split("/"))
    return "/".join(part for part in parts if part.strip("."))[:250] or "unnamed"


def first_line(error: BaseException) -> str:
    """What an error says, without its traceback or its help text."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _sqlite_path(uri: str) -> Path | None:
    path = uri.removeprefix("sqlite:///")
    return Path(path) if path != uri and path and path != ":memory:" else None


def _make_database(uri: str) -> None:
    """Make the tables of a SQLite URI where there are none yet.

    MLflow makes them in dozens of migrations. Two processes that do so at the same time both fail, and one
    that is killed leaves half of them; so one process makes a file that gets its name when it is whole.
    """
    import mlflow

    path = _sqlite_path(uri)
    if path is None or path.exists():
        return
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with atomic_path(path) as part:
                mlflow.MlflowClient(f"sqlite:///{part}").search_experiments(max_results=1)

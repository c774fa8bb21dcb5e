"""What the Procfile and the programs in it read: places, ports that are free, and passwords of this start."""

import argparse
import contextlib
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Container, Mapping
from pathlib import Path

from stocktake.errors import SettingsError
from stocktake.files import atomic_path

ROOT = Path(__file__).resolve().parents[2]
REDIS_CONF = ROOT / "charts/platform/files/redis.conf"
GATEWAY = "STOCKTAKE_GATEWAY_"
MODELS = {  # task: model dir, variable of the Procfile, what makes one
    "shelves": (Path("runs/demo/model"), "UP_SHELVES", "make demo"),
    "bins": (Path("runs/demo-bins/model"), "UP_BINS", "make demo-bins"),
}


def absent() -> dict[str, str]:
    """What is not started here, and what that means."""
    if os.environ.get(f"{GATEWAY}REDIS"):
        return {"redis": f"not started, since {GATEWAY}REDIS names another one"}
    if shutil.which("redis-server"):
        return {}
    why = "there is no redis-server; `make services` installs one"
    return {"redis": f"{why}. Without it photos are answered at once, and jobs of many are refused"}


def missing_models(models: Mapping[str, Path]) -> list[str]:
    """A line for each model that is not there.

    Raises:
        SettingsError: there is none at all.
    """
    missing = [
        f"{name}: there is no model in {folder}; run `{MODELS[name][2]}` first, or give --{name} DIR"
        for name, folder in models.items()
        if not _is_model(folder)
    ]
    if len(missing) == len(models):
        raise SettingsError("; ".join(missing))
    return missing


def has_model(environment: Mapping[str, str], task: str) -> bool:
    """Whether a task is served."""
    return MODELS[task][1] in environment


def variables(args: argparse.Namespace, data: Path, left_out: Container[str]) -> dict[str, str]:
    """The environment of the processes; variables of the gateway that are set already win.

    Raises:
        SettingsError: a port is taken.
    """
    predictor, grpc, redis, worker = _free_ports(4)
    url = f"http://127.0.0.1:{predictor}"
    found = {
        "UP_PYTHON": sys.executable,
        "UP_DATA": str(data),
        "UP_PORT": str(_port("--port", args.port)),
        "UP_PREDICTOR_PORT": str(predictor),
        "UP_GRPC_PORT": str(grpc),
        "UP_WORKER_PORT": str(worker),
        "UP_MLFLOW_PORT": "" if "mlflow" in left_out else str(_port("--mlflow-port", args.mlflow_port)),
        "UP_MLFLOW_DATABASE": str(args.mlflow_database.absolute()),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        f"{GATEWAY}DATABASE": f"sqlite:///{data / 'records.db'}",
        f"{GATEWAY}PHOTOS": str(data / "photos"),
        f"{GATEWAY}TOKENS": str(data / "tokens.yaml"),
        f"{GATEWAY}SHELVES_URL": url,
        f"{GATEWAY}BINS_URL": url,
        f"{GATEWAY}PREDICTOR_TOKEN": secrets.token_hex(32),
    }
    for task, (_, name, _) in MODELS.items():
        if _is_model(getattr(args, task)):
            found[name] = str(getattr(args, task).absolute())
    if "redis" not in left_out:
        password = secrets.token_hex(32)
        found[f"{GATEWAY}REDIS"] = f"redis://:{password}@127.0.0.1:{redis}/0"
        write(data / "redis.conf", _redis_conf(data, redis, password))
    set_already = {name: value for name, value in os.environ.items() if name.startswith(GATEWAY) and value}
    environment = {**os.environ, **found, **set_already}
    write(data / "predictor.token", environment[f"{GATEWAY}PREDICTOR_TOKEN"])
    return environment


def write(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    with atomic_path(path) as part:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


def _is_model(folder: Path) -> bool:
    return (folder / "model_card.json").is_file()


def _redis_conf(data: Path, port: int, password: str) -> str:
    """The chart's, but for what differs between machines."""
    (data / "redis").mkdir(exist_ok=True)
    own = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": f'"{data / "redis"}"',
        "maxmemory": "384mb",
        "requirepass": password,
    }
    kept = [line for line in REDIS_CONF.read_text().splitlines() if line.split()[0] not in own]
    return "\n".join([*kept, *(f"{name} {value}" for name, value in own.items()), ""])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _port(flag: str, port: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", port)) as one:
            return int(one.getsockname()[1])
    except OSError as error:
        raise SettingsError(f"{flag} {port}: {error.strerror}; stop what listens there, or take 0") from error

"""What the demos share: their command line, the run of the pipeline, and a server with the champion."""

import argparse
import contextlib
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipelines.catalogue import find
from pipelines.local_runner import RunResult, run_locally
from pipelines.parameters import read_file
from stocktake.errors import ModelError
from stocktake.mlflow_server import tracking_uri
from stocktake.program import run_program

ASKED = 6  # photos of the test split that the served champion is asked about
START_TIMEOUT_S = 120
PARAMS = Path(__file__).parent / "params"

Demo = Callable[[str | None, Path, dict[str, Any]], None]  # photos, folder of the run, parameters


@dataclass(frozen=True, slots=True)
class Server:
    """Addresses of a predictor that answers."""

    http: str
    grpc: str


def run_command_line(
    module: str, about: str | None, layout: str, params: str, demo: Demo, arguments: Sequence[str] | None
) -> int:
    """Read a demo's command line, run it and return its exit status.

    Args:
        module: its name, `demo` or `demo_bins`; with a dash that of its folder in runs/.
        about: its help.
        layout: of the photos that --data takes.
        params: file of its parameters in pipelines/params.
        demo: called with the photos, None where they are to be drawn, the folder of the run and parameters.
        arguments: None = those of the process.
    """
    out = Path("runs") / module.replace("_", "-")
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{module}", description=about)
    parser.add_argument("--data", help=f"photos in {layout}'s layout; drawn ones if not given")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="default %(default)s")
    parser.add_argument(
        "--params", type=Path, default=PARAMS / params, metavar="FILE", help="parameters of the pipeline"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    hint = "the same command continues where it was"
    return run_program("demo", lambda: demo(options.data, options.out, read_file(options.params)), hint)


def say(line: str) -> None:
    """Tell the person who waits."""
    print(f"demo: {line}", flush=True)


def run_to_champion(name: str, params: dict[str, Any], source: str, out_dir: Path) -> RunResult:
    """Run a pipeline and fetch the champion, be it the new model or an older one, into `out_dir`/model."""
    from stocktake.registry import champion, fetch_model

    pipeline = find(name)
    result = run_locally(pipeline.definition, pipeline.arguments({**params, "source": source}), out_dir)
    say(result.values["reason"])
    fetch_model(champion(result.arguments["model_name"]).uri, out_dir / "model")
    return result


@contextlib.contextmanager
def serving(name: str, model_dir: Path, log: Path) -> Iterator[Server]:
    """Serve a model dir under a name, in a process of its own, for as long as the block lasts.

    Raises:
        ModelError: it ends, or is not ready within two minutes; names its log.
    """
    http, grpc = _free_port(), _free_port()
    command = [
        sys.executable, "-m", "serving.predictors", "--model_name", name, "--model_dir", str(model_dir),
        "--http_port", str(http), "--grpc_port", str(grpc),
    ]  # fmt: skip
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink, subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT) as process:
        server = Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}")
        try:
            _wait_until_ready(f"{server.http}/v2/models/{name}/ready", process, log)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def say_where(out_dir: Path, *names: str) -> None:
    """Tell where files are, and how to look at the runs."""
    for name in names:
        say(f"  {out_dir / name}")
    uri = tracking_uri()
    command = f"with `.venv/bin/mlflow server --backend-store-uri {uri}`"
    say(f"compare runs {f'at {uri}' if uri.startswith('http') else command}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).is_success:
                return
        time.sleep(0.2)
    raise ModelError(f"the predictor did not become ready; see {log}")

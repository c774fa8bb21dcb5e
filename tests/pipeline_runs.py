"""Runs of pipelines on this machine, started from a folder where the repository cannot be seen."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PARAMS = ROOT / "pipelines/params"
PLACES = ("STOCKTAKE_STORE", "STOCKTAKE_CACHE", "MLFLOW_TRACKING_URI")


class Finished(NamedTuple):
    """What a run has left in `folder`/out."""

    folder: Path  # where it was started
    process: subprocess.CompletedProcess
    record: dict  # run.json

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def returned(self) -> dict[str, dict]:
        """What each step returned, by the step's first word."""
        return {task["name"].split("-")[0]: task["returned"] for task in self.record["tasks"]}


def run(folder: Path, pipeline: str, *words: str) -> Finished:
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "run", pipeline, "--out", "out", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    return Finished(folder, process, json.loads((folder / "out/run.json").read_text()))

"""For tests of a YOLOv5 training: small drawn photos, and a training in a process that can be killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import train
from stocktake.storage import open_store
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset

SETTINGS = TrainSettings(weights="scratch", model="n", epochs=1, img=96, batch=4, hyp="quick", device="cpu")
DEADLINE = 240  # s, for a child process on a busy machine


def draw_index(folder: Path) -> Path:
    """The index of eight train and four val photos of 256 px, drawn into `folder`."""
    drawing = DrawSettings(width=256, height=256, tiers=(2, 3), bays=(1, 1), voids=(0, 1), landscape=0)
    write_dataset(folder / "photos", {"train": 8, "val": 4}, drawing, workers=1, progress=False)
    ingest(str(folder / "photos"), folder / "index", progress=False)
    return folder / "index/index.parquet"


CHILD = """
import json, sys
from pathlib import Path
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import train

index, work, settings = Path(sys.argv[1]), Path(sys.argv[2]), TrainSettings(**json.loads(sys.argv[3]))
def told(metrics, epoch):
    with (work / "epochs").open("a") as file:
        file.write(f"{epoch}\\n")
train(index, work / "model", settings, work / "runs", told)
"""


def start_child(index_path: Path, work: Path, settings: TrainSettings) -> "subprocess.Popen[bytes]":
    """Train in a process group of its own, below `work`, telling its epochs in a file; see `epochs_told`."""
    work.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(index_path), str(work), json.dumps(asdict(settings))],
        stdout=subprocess.DEVNULL,
        stderr=(work / "stderr").open("ab"),
        start_new_session=True,
    )


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", work: Path) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, (work / "stderr").read_text()[-3000:]
        assert time.monotonic() < end, "the child took too long"
        time.sleep(0.02)


def epochs_told(work: Path) -> list[int]:
    return [int(line) for line in (work / "epochs").read_text().split()] if (work / "epochs").exists() else []


def lose_disk_and_continue(
    index_path: Path, folder: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Kill a training whose checkpoints go to a store, delete all that it wrote, and call it again elsewhere.

    Returns:
        The first two epochs that the second call does.
    """
    monkeypatch.setenv("STOCKTAKE_STORE", store)
    monkeypatch.setenv("STOCKTAKE_CHECKPOINT_MINUTES", "0.001")
    settings = replace(SETTINGS, epochs=30)
    process = start_child(index_path, folder / "work", settings)
    kept = open_store(store)
    wait_until(lambda: any(item.key.endswith("last.pt") for item in kept.list()), process, folder / "work")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(epochs_told(folder / "work")) < settings.epochs
    shutil.rmtree(folder / "work")
    told: list[int] = []

    def stop_after_two(_: dict[str, float], epoch: int) -> None:
        told.append(epoch)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(index_path, folder / "model", settings, folder / "elsewhere", stop_after_two)
    return told

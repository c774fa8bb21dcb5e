"""Seconds per epoch of our training beside the plain ultralytics trainer, on the same photos and settings.

    python -m benchmarks.training_overhead --photos 96 --epochs 3 --rounds 3

Each training runs in a process of its own, in turn; the figure is the time from the start of the first epoch
to the end of the last, validation and checkpoints included, and the ratio is that of the medians. Ours is
watched by the training rules, as it is by default. Both run with the same number of threads. Goal: at most
1.03.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stocktake.dataset import DatasetIndex
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import ultralytics_arguments
from stocktake.shelf.yolo_labels import write_tree
from stocktake.synthetic.shelves import write_dataset

GOAL = 1.03


def main() -> None:
    """Draw, train in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=96, help="train photos (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="of each training (default: %(default)s)")
    parser.add_argument("--img", type=int, default=416, help="px (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="photos in a step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each training")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(f"seconds {run(*options.child, options)}")
        return
    with tempfile.TemporaryDirectory(prefix="training-overhead-") as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Train in turn and print the medians."""
    write_dataset(folder / "photos", {"train": options.photos, "val": 16})
    ingest(str(folder / "photos"), folder)
    index = DatasetIndex.read(folder / "index.parquet")
    data = write_tree(index, folder / "tree", folder / "cache")
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(options.rounds):
        for way, found in times.items():
            command = [sys.executable, "-m", "benchmarks.training_overhead", *sys.argv[1:]]
            child = [*command, "--child", way, str(data), str(folder / f"{way}{number}")]
            answer = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout
            found.append(float(answer.rpartition("seconds ")[2]))
            print(f"round {number + 1}: {way} {found[-1]:.1f} s", flush=True)
    plain, ours = (statistics.median(found) for found in times.values())
    print(
        f"{options.photos} drawn photos, {options.epochs} epochs of YOLOv5n at {options.img} px,"
        f" batch {options.batch}, {options.threads} threads, median of {options.rounds}:"
        f" plain {plain:.1f} s, ours {ours:.1f} s, ratio {ours / plain:.3f} (goal: at most {GOAL})"
    )


def run(way: str, data: str, out: str, options: argparse.Namespace) -> float:
    """Train once; return the seconds from the start of the first epoch to the end of the last."""
    settings = TrainSettings(
        weights="scratch",
        model="n",
        epochs=options.epochs,
        img=options.img,
        batch=options.batch,
        device="cpu",
    )
    arguments = {**ultralytics_arguments(settings), "model": "yolov5n.yaml", "data": data}
    arguments |= {"project": str(Path(out).parent), "name": Path(out).name}
    from stocktake.monitoring.monitor import TrainingMonitor
    from stocktake.monitoring.run_files import leave_answers
    from stocktake.shelf import watching
    from stocktake.shelf.trainer import DetectionTrainer, ShelfTrainer, epoch_metrics, torch

    trainer: Any = (ShelfTrainer if way == "ours" else DetectionTrainer)(overrides=arguments)
    torch.set_num_threads(options.threads)  # ultralytics would leave one core idle
    monitor = TrainingMonitor()  # as `stocktake shelf train` watches by default
    if way == "ours":
        watching.watch(trainer, monitor)
        trainer.add_callback(
            "on_fit_epoch_end", lambda state: watching.end_epoch(state, epoch_metrics(state))
        )
    clock = {"begun": 0.0, "ended": 0.0}
    trainer.add_callback("on_train_start", lambda _: clock.update(begun=time.perf_counter()))
    trainer.add_callback("on_fit_epoch_end", lambda _: clock.update(ended=time.perf_counter()))
    if way == "plain":
        trainer.final_eval = lambda: None  # ours measures the best checkpoint outside of the trainer
    trainer.train()
    if way == "ours":
        leave_answers(monitor, Path(trainer.save_dir))
    return clock["ended"] - clock["begun"]


if __name__ == "__main__":
    main()

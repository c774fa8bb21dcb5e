"""Trains YOLOv5 on drawn shelves on GPUs: photos per second, AP, beside the plain trainer and the loader.

    python -m benchmarks.gpu.shelf_training --device 0
    python -m benchmarks.gpu.shelf_training --device 0,1,2,3 --batch 256

Ours is `stocktake.shelf.training.train` as it is called everywhere: mixed precision, batch -1 on one GPU, one
rank per GPU on several. The plain trainer of ultralytics gets the same photos, hyper-parameters and batch.
Each training runs in a process of its own, in turn; seconds are those of results.csv, from the start of the
first epoch to the end of the last, validation and checkpoints included, and the ratio is that of the medians.
The loader's limit is what it delivers to a model that takes no time. Goals: a ratio of .97 or more, and a
loader twice as fast as the training. `--device cpu` with few small photos tries the script itself.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stocktake.dataset import DatasetIndex
from stocktake.shelf.label_prep import prepare
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import train, ultralytics_arguments
from stocktake.shelf.yolo_labels import write_tree
from stocktake.synthetic.shelves import write_dataset

Result = dict[str, float]


def main() -> None:
    """Draw, train in turn, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--device", default="0", help="0; 0,1 for two GPUs; cpu (default: %(default)s)")
    parser.add_argument("--photos", type=int, default=2000, help="train photos (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="of each training (default: %(default)s)")
    parser.add_argument("--size", default="s", help="of YOLOv5: n, s, m, l or x (default: %(default)s)")
    parser.add_argument("--img", type=int, default=640, help="px (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=-1, help="over all GPUs; -1 = what fits into one")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each (default: %(default)s)")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = TrainSettings(
        weights="scratch", model=options.size, epochs=options.epochs, img=options.img, batch=options.batch,
        device=options.device, resume=False,
    )  # fmt: skip
    if options.child:
        way, folder = options.child
        print(json.dumps({"ours": ours, "plain": plain, "loader": loader}[way](Path(folder), settings)))
        return
    with tempfile.TemporaryDirectory(prefix="shelf-training-") as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Train in turn and print the medians."""
    write_dataset(folder / "photos", {"train": options.photos, "val": max(8, options.photos // 10)})
    ingest(str(folder / "photos"), folder / "ingested")
    prepare(folder / "ingested/index.parquet", folder)
    found: dict[str, list[Result]] = {"ours": [], "plain": []}
    for number in range(options.rounds):
        for way, results in found.items():
            batch = int(found["ours"][0]["batch"]) if found["ours"] else options.batch
            results.append(run_child(way, folder, batch))
            print(f"round {number + 1}: {way} {json.dumps(results[-1])}", flush=True)
    limit = run_child("loader", folder, batch)["photos_per_second"]
    speed = {
        way: statistics.median(r["photos_per_second"] for r in results) for way, results in found.items()
    }
    ap = {way: statistics.median(r["ap50"] for r in results) for way, results in found.items()}
    print(
        f"YOLOv5{options.size}, {options.photos} drawn photos, {options.epochs} epochs at {options.img} px,"
        f" batch {batch}, device {options.device}, median of {options.rounds}:"
        f" ours {speed['ours']:.1f} photos/s, AP50 {ap['ours']:.3f};"
        f" plain {speed['plain']:.1f} photos/s, AP50 {ap['plain']:.3f};"
        f" ratio {speed['ours'] / speed['plain']:.3f};"
        f" the loader alone {limit:.1f} photos/s, {limit / speed['ours']:.2f} times the training"
    )


def run_child(way: str, folder: Path, batch: int) -> Result:
    """What a process of its own prints as its last line."""
    command = [sys.executable, "-m", "benchmarks.gpu.shelf_training", *sys.argv[1:]]
    child = [*command, "--batch", str(batch), "--child", way, str(folder)]
    answer = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(answer.strip().splitlines()[-1]))


def ours(folder: Path, settings: TrainSettings) -> Result:
    """Train and export as every caller does."""
    from stocktake.shelf.trainer import torch

    with tempfile.TemporaryDirectory(dir=folder) as out:
        result = train(folder / "index.parquet", Path(out) / "model", settings, Path(out), lambda *_: None)
        used = torch.load(result.weights, map_location="cpu", weights_only=False)["train_args"]
        return {**speed_of(result.run_dir, folder), "batch": used["batch"]}


def plain(folder: Path, settings: TrainSettings) -> Result:
    """Train with ultralytics alone; over several GPUs it starts its own ranks."""
    from stocktake.shelf.trainer import DetectionTrainer

    with tempfile.TemporaryDirectory(dir=folder) as out:
        DetectionTrainer(overrides=arguments(folder, settings, Path(out))).train()
        return speed_of(Path(out) / "run", folder)


def loader(folder: Path, settings: TrainSettings) -> Result:
    """Go through the train photos once without a model, after one batch that starts the processes."""
    from stocktake.shelf.trainer import ShelfTrainer

    alone = replace(settings, device=settings.devices[0], batch=settings.batch // len(settings.devices))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        trainer: Any = ShelfTrainer(overrides=arguments(folder, alone, Path(out)))
        trainer.setup_model()
        trainer.set_model_attributes()
        batches = iter(trainer.get_dataloader(trainer.data["train"], alone.batch, rank=-1, mode="train"))
        seen = len(next(batches)["img"])
        begun, first = time.perf_counter(), seen
        seen += sum(len(batch["img"]) for batch in batches)
        # no less than one photo, for a set of a single batch
        return {"photos_per_second": max(seen - first, 1) / (time.perf_counter() - begun)}


def arguments(folder: Path, settings: TrainSettings, out: Path) -> dict[str, Any]:
    """For an ultralytics trainer that writes into `out`/run."""
    index = DatasetIndex.read(folder / "index.parquet")
    data = write_tree(index, out / "tree", folder / "cache")
    own = {"model": f"yolov5{settings.model}.yaml", "data": str(data), "project": str(out), "name": "run"}
    return {**ultralytics_arguments(settings), **own}


def speed_of(run: Path, folder: Path) -> Result:
    """Photos per second and AP50 on val, by the trainer's own table of epochs."""
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    photos = len(DatasetIndex.read(folder / "index.parquet").split("train"))
    return {
        "photos_per_second": photos * len(rows) / float(rows[-1]["time"]),
        "ap50": float(rows[-1]["metrics/mAP50(B)"]),
    }


if __name__ == "__main__":
    main()

"""Train the starter weights: a YOLOv5n for people who have no hub to fetch COCO weights from.

    python -m benchmarks.starter_weights --hours 1 --out src/stocktake/shelf/starter

Draws shelves of the family `starter`, whose palettes, backs and packs are not those of the demo, trains from
scratch, and measures on photos that were not trained on: of the same family, and of the family `demo`, which
these weights have never seen. Writes yolov5nu.pt and figures.json. Run again with the same --work, it
continues where it was stopped.
"""

import argparse
import json
import logging
import shutil
from pathlib import Path

from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.files import atomic_path
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.export import export_model
from stocktake.shelf.label_prep import prepare
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.train_settings import TrainSettings
from stocktake.shelf.training import train
from stocktake.shelf.weights import STARTER_NAME
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.shelves import write_dataset

IMG = 416
STARTER = DrawSettings(
    family="starter", width=1280, height=1280, tiers=(4, 8)
)  # square: no padding to learn from
DEMO = DrawSettings(family="demo")
JUDGES = 100  # photos of each family to measure on


def main() -> None:
    """Draw, train, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hours", type=float, default=1.0, help="wall clock of the training (default: %(default)s)"
    )
    parser.add_argument("--photos", type=int, default=900, help="train photos to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing (default: %(default)s)")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/starter"), help="folder of photos and checkpoints"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and figures.json")
    parser.add_argument("--checkpoint", type=Path, help="measure and write this one instead of training")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    counts = {"train": options.photos, "val": 60, "test": JUDGES}
    starter = draw(options.work / "starter", STARTER, counts, options.seed)
    demo = draw(options.work / "demo", DEMO, {"test": JUDGES}, options.seed)
    model_dir = options.work / "model"
    if options.checkpoint:
        export_model(options.checkpoint, model_dir, IMG, DatasetIndex.read(starter))
    else:
        settings = TrainSettings(
            weights="scratch",
            model="n",
            hours=options.hours,
            img=IMG,
            batch=8,
            hyp="quick",
            cache="ram",
            patience=1000,
        )
        train(starter, model_dir, settings, options.work / "runs")
    figures = {"starter": measure(model_dir, starter), "demo": measure(model_dir, demo)}
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_dir / "weights.pt", options.out / STARTER_NAME)
    with atomic_path(options.out / "figures.json") as part:
        part.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def draw(folder: Path, settings: DrawSettings, counts: dict[str, int], seed: int) -> Path:
    """Draw photos, ingest and prepare them, unless an earlier call has; return the index."""
    index = folder / "prepared/index.parquet"
    if not index.is_file():
        write_dataset(folder / "photos", counts, settings, seed)
        ingest(str(folder / "photos"), folder / "ingest", name=f"drawn-{settings.family}")
        prepare(folder / "ingest/index.parquet", index.parent)
    return index


def measure(model_dir: Path, index_path: Path) -> dict[str, float]:
    """AP, AP50, AP75 and AR300 of a model dir on the test photos of an index, from pixels."""
    detector, index = ShelfDetector.load(model_dir), DatasetIndex.read(index_path)
    photos = index.split("test")
    found = [detector.candidates(read_photo_bytes(index, photo)) for photo in photos]
    scores = score_detections([photo.boxes for photo in photos], found)
    return {
        "photos": scores.photos,
        "products": scores.products,
        **{k: round(v, 4) for k, v in scores.metrics().items()},
    }


if __name__ == "__main__":
    main()

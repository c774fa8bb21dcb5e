"""A small data set in the layout of SKU-110K, and its ingest, whose counts must add up."""

import tarfile
from pathlib import Path

import cv2
import numpy as np

from stocktake.data_report import read_report
from stocktake.dataset import DatasetIndex
from stocktake.shelf.ingest_report import IngestReport
from stocktake.shelf.sku110k import ingest

WIDTH, HEIGHT = 96, 64


def encode(seed: int = 0, suffix: str = ".jpg", shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def row(name: str, box: str = "1,2,30,40", size: str = f"{WIDTH},{HEIGHT}") -> str:
    return f"{name},{box},object,{size}\n"


def make_set(folder: Path, counts: dict[str, int] | None = None) -> Path:
    """A small data set in the layout of SKU-110K, two boxes per photo."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    seed = 0
    for split, count in (counts or {"train": 6, "val": 2, "test": 3}).items():
        names = [f"{split}_{number}.jpg" for number in range(count)]
        for name in names:
            (folder / "images" / name).write_bytes(encode(seed))
            seed += 1
        text = "".join(row(name) + row(name, "40,2,90,60") for name in names)
        (folder / f"annotations/annotations_{split}.csv").write_text(text)
    return folder


def add_row(shelves: Path, text: str, split: str = "train") -> None:
    with (shelves / f"annotations/annotations_{split}.csv").open("a") as file:
        file.write(text)


def take(source: Path | str, tmp_path: Path, **options) -> tuple[IngestReport, DatasetIndex]:
    return taken(ingest(str(source), tmp_path / "out", progress=False, **options))


def taken(index_path: Path) -> tuple[IngestReport, DatasetIndex]:
    report = read_report(IngestReport, index_path.parent)
    assert_adds_up(report)
    return report, DatasetIndex.read(index_path)


def assert_adds_up(report: IngestReport) -> None:
    assert report.photos_found == report.photos_kept + sum(map(len, report.left_out.values()))
    assert report.rows_read == report.boxes_kept + sum(report.rows_left_out.values())
    assert report.photos_kept == sum(counts["photos"] for counts in report.splits.values())
    assert report.boxes_kept == sum(counts["boxes"] for counts in report.splits.values())


def make_archive(folder: Path, path: Path, photos_first: bool = False, mode: str = "w:gz") -> Path:
    parts = ["images", "annotations"] if photos_first else ["annotations", "images"]
    with tarfile.open(path, mode) as tar:
        for part in parts:
            for file in sorted((folder / part).iterdir()):
                tar.add(file, f"SKU110K_fixed/{part}/{file.name}")
        tar.addfile(tarfile.TarInfo("SKU110K_fixed/readme.txt"))
    return path

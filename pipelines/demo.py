"""`make demo`: draw photos, run the pipeline, serve the champion, ask it, and paint what is missing."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.demo_common import (
    ASKED,
    Server,
    run_command_line,
    run_to_champion,
    say,
    say_where,
    serving,
)
from pipelines.local_runner import RunResult
from serving.ask import Answer, ask
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import ModelError
from stocktake.files import atomic_path

COUNTS = {
    "train": 120,
    "val": 120,
    "test": 40,
}  # drawn photos; of val so many that precisions can be told apart


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    return run_command_line("demo", __doc__, "SKU-110K", "demo.yaml", run_demo, arguments)


def run_demo(data: str | None, out_dir: Path, params: dict[str, Any]) -> None:
    """Leave voids.json, annotated.jpg, report.html and model/ (the champion) in `out_dir`.

    Args:
        data: photos in SKU-110K's layout; drawn into `out_dir`/photos when None.
        out_dir: folder of the run.
        params: of the pipeline, without its source.
    """
    begun = time.monotonic()
    source = data or str(_draw(out_dir / "photos"))
    result = run_to_champion("shelf_detector", params, source, out_dir)
    photos = _some_photos(result)
    say(f"serving the champion and asking it about {len(photos)} photos over v2 REST and gRPC")
    with serving("shelf-detector", out_dir / "model", out_dir / "logs" / "predictor.log") as server:
        answers = _ask_twice(server, list(photos.values()))
    _write(out_dir, photos, answers)
    _summarise(out_dir, result, time.monotonic() - begun)


def _draw(folder: Path) -> Path:
    from stocktake.synthetic.shelves import write_dataset

    say(f"drawing {sum(COUNTS.values())} shelf photos with known voids")
    return write_dataset(folder, COUNTS)


def _some_photos(result: RunResult) -> dict[str, bytes]:
    """Name and bytes of test photos, those with most known voids first."""
    index = DatasetIndex.read(result.artifacts["index"])
    photos = sorted(
        index.split(result.arguments["split"]), key=lambda photo: (-len(photo.voids or ()), photo.name)
    )
    return {photo.name: read_photo_bytes(index, photo) for photo in photos[:ASKED]}


def _ask_twice(server: Server, photos: list[bytes]) -> list[Answer]:
    over_rest = asyncio.run(ask(photos, http=server.http))
    over_grpc = asyncio.run(ask(photos, grpc=server.grpc))
    if [answer.report for answer in over_rest] != [answer.report for answer in over_grpc]:
        raise ModelError("the predictor answers differently over REST and gRPC")
    return over_rest


def _write(out_dir: Path, photos: dict[str, bytes], answers: list[Answer]) -> None:
    reports = [{"photo": name, **answer.report} for name, answer in zip(photos, answers, strict=True)]
    with atomic_path(out_dir / "voids.json") as part:
        part.write_text(json.dumps(reports, indent=2) + "\n")
    shown = next((number for number, answer in enumerate(answers) if answer.report["voids"]), 0)
    (out_dir / "annotated.jpg").write_bytes(_paint(list(photos.values())[shown], answers[shown]))


def _paint(data: bytes, answer: Answer) -> bytes:
    from stocktake.images import decode_photo, encode_jpeg
    from stocktake.shelf.drawing import draw_report
    from stocktake.shelf.report import ShelfReport, Void

    photo = decode_photo(data)
    voids = [Void(**void) for void in answer.report["voids"]]
    tiers, osa = answer.report["tiers"], answer.report["osa"]
    report = ShelfReport(photo.shape[1], photo.shape[0], answer.boxes, answer.scores, voids, tiers, osa)
    return encode_jpeg(draw_report(photo, report))


def _summarise(out_dir: Path, result: RunResult, seconds: float) -> None:
    metrics = json.loads(result.artifacts["metrics"].read_text())
    say(f"done in {seconds / 60:.1f} min; on {metrics['data/photos']:.0f} held-out photos:")
    for name, label in (
        ("before/detector/ap50", "AP50 before this training"),
        ("detector/ap50", "AP50 after"),
        ("voids/f1_iou30", "void F1 at IoU .3, from pixels"),
        ("sliding_box/voids/f1_iou30", "  the sliding-box heuristic on the same boxes"),
    ):
        if name in metrics:
            say(f"  {label:<42} {metrics[name]:.3f}")
    say_where(out_dir, "annotated.jpg", "voids.json", "report.html", "model")


if __name__ == "__main__":
    sys.exit(main())

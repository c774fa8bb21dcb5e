"""`make demo-bins`: draw bins, search, train, serve the champion, and have it verify recorded quantities."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

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
from serving.ask import Count, count
from stocktake.bins.counter import BinCounter, BinReport
from stocktake.bins.verification import Verdict
from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.devices import quick_amp
from stocktake.errors import ModelError
from stocktake.files import atomic_path
from stocktake.model_card import ModelCard

PHOTOS = 8000  # drawn photos
COUNTERS = (
    ("", "this model"),
    ("champion/", "the champion before it"),
    ("constant/", "always the middle count"),
    ("prior/", "always the most frequent count"),
    ("blobs/", "connected components"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    return run_command_line("demo_bins", __doc__, "ABID", "bins_demo.yaml", run_demo, arguments)


def run_demo(data: str | None, out_dir: Path, params: dict[str, Any]) -> None:
    """Leave counts.json, annotated.jpg, report.html and model/ (the champion) in `out_dir`.

    Args:
        data: photos in ABID's layout; drawn into `out_dir`/photos when None.
        out_dir: folder of the run.
        params: of the pipeline, without its source.
    """
    begun = time.monotonic()
    source = data or str(_draw(out_dir / "photos"))
    result = run_to_champion("bin_search", {"amp": quick_amp(), **params}, source, out_dir)
    verified = verify_some(out_dir, DatasetIndex.read(result.artifacts["index"]), result.arguments["split"])
    _summarise(result, time.monotonic() - begun)
    say(f"one verified photo, {verified}")
    say_where(out_dir, "annotated.jpg", "counts.json", "report.html", "search.html", "rules.html", "model")


def verify_some(out_dir: Path, index: DatasetIndex, split: str) -> str:
    """Serve `out_dir`/model and ask it about a few records; write counts.json and annotated.jpg.

    Returns:
        What came out for the photo that is painted, in a sentence.

    Raises:
        ModelError: the predictor does not start, or answers differently over REST and gRPC.
    """
    photos = sorted(index.split(split), key=lambda photo: photo.name)[:ASKED]
    say(f"serving the champion and verifying {len(photos)} records over v2 REST and gRPC")
    sent = [read_photo_bytes(index, photo) for photo in photos]
    recorded = [int(photo.quantity or 0) for photo in photos]
    with serving(BinCounter.TASK, out_dir / "model", out_dir / "logs" / "predictor.log") as server:
        answers = _ask_twice(server, sent, recorded)
    shown = _write(out_dir, photos, sent, recorded, answers)
    answer = answers[shown]
    return (
        f"{photos[shown].name}: recorded {recorded[shown]}, counted {answer.count}, "
        f"match probability {answer.match_probability:.2f}, verdict {answer.verdict}"
    )


def _draw(folder: Path) -> Path:
    from stocktake.synthetic.bins import write_dataset

    say(f"drawing {PHOTOS} photos of bins with a known number of items")
    return write_dataset(folder, PHOTOS)


def _ask_twice(server: Server, photos: list[bytes], recorded: list[int]) -> list[Count]:
    over_rest = asyncio.run(count(photos, recorded, http=server.http))
    over_grpc = asyncio.run(count(photos, recorded, grpc=server.grpc))
    if [_plain(answer) for answer in over_rest] != [_plain(answer) for answer in over_grpc]:
        raise ModelError("the predictor answers differently over REST and gRPC")
    return over_rest


def _plain(answer: Count) -> dict[str, Any]:
    return {**asdict(answer), "probabilities": np.asarray(answer.probabilities).tolist()}


def _write(
    out_dir: Path, photos: list[Photo], sent: list[bytes], recorded: list[int], answers: list[Count]
) -> int:
    """Write counts.json and annotated.jpg; return the number of the photo that is on it."""
    from stocktake.bins.drawing import draw_report
    from stocktake.images import decode_photo, encode_jpeg

    rows = [
        {"photo": photo.name, "expected_quantity": quantity, **_plain(answer)}
        for photo, quantity, answer in zip(photos, recorded, answers, strict=True)
    ]
    with atomic_path(out_dir / "counts.json") as part:
        part.write_text(json.dumps(rows, indent=2) + "\n")
    decided = (number for number, answer in enumerate(answers) if answer.verdict != "ask")
    shown = next(decided, 0)
    answer = answers[shown]
    classes = tuple(int(name) for name in ModelCard.read(out_dir / "model").classes)
    report = BinReport(
        answer.count,
        classes,
        answer.probabilities,
        recorded[shown],
        answer.match_probability,
        cast(Verdict, answer.verdict),
    )
    (out_dir / "annotated.jpg").write_bytes(encode_jpeg(draw_report(decode_photo(sent[shown]), report)))
    return shown


def _summarise(result: RunResult, seconds: float) -> None:
    metrics = json.loads(result.artifacts["metrics"].read_text())
    say("the search:")
    print(result.artifacts["trials"].read_text())
    say("the training rules:")
    print(result.values["rule_summary"])
    say(f"done in {seconds / 60:.1f} min; on {metrics['data/photos']:.0f} held-out photos:")
    say(f"  {'':<32} accuracy   MAE")
    for who, label in COUNTERS:
        if f"{who}count/accuracy" in metrics:
            accuracy, mae = metrics[f"{who}count/accuracy"], metrics[f"{who}count/mae"]
            say(f"  {label:<32} {accuracy:8.3f} {mae:5.2f}")


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: draw photos, run the pipeline, serve the champion, ask it, and paint what is missing."""

import argparse
import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipelines.catalogue import find
from pipelines.local_runner import RunResult, run_locally
from pipelines.parameters import read_file
from serving.ask import Answer, ask
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import ModelError
from stocktake.files import atomic_path
from stocktake.mlflow_server import tracking_uri
from stocktake.program import run_program

COUNTS = {"train": 120, "val": 30, "test": 40}  # drawn photos
ASKED = 6  # photos of the test split that the served champion is asked about
START_TIMEOUT_S = 120
PARAMS = Path(__file__).parent / "params" / "demo.yaml"


@dataclass(frozen=True, slots=True)
class Server:
    """Addresses of a predictor that answers."""

    http: str
    grpc: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description=__doc__)
    parser.add_argument("--data", help="photos in SKU-110K's layout; drawn ones if not given")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="default %(default)s"
    )
    parser.add_argument(
        "--params", type=Path, default=PARAMS, metavar="FILE", help="parameters of the pipeline"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    hint = "the same command continues where it was"
    return run_program("demo", lambda: run_demo(options.data, options.out, read_file(options.params)), hint)


def run_demo(data: str | None, out_dir: Path, params: dict[str, Any]) -> None:
    """Leave voids.json, annotated.jpg, report.html and model/ (the champion) in `out_dir`.

    Args:
        data: photos in SKU-110K's layout; drawn into `out_dir`/photos when None.
        out_dir: folder of the run.
        params: of the pipeline, without its source.
    """
    from stocktake.registry import champion, fetch_model

    begun = time.monotonic()
    source = data or str(_draw(out_dir / "photos"))
    pipeline = find("shelf_detector")
    result = run_locally(pipeline.definition, pipeline.arguments({**params, "source": source}), out_dir)
    say(result.values["reason"])
    fetch_model(champion(result.arguments["model_name"]).uri, out_dir / "model")
    photos = _some_photos(result)
    say(f"serving the champion and asking it about {len(photos)} photos over v2 REST and gRPC")
    with serving(out_dir / "model", out_dir / "logs" / "predictor.log") as server:
        answers = _ask_twice(server, list(photos.values()))
    _write(out_dir, photos, answers)
    _summarise(out_dir, result, time.monotonic() - begun)


def say(line: str) -> None:
    """Tell the person who waits."""
    print(f"demo: {line}", flush=True)


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


@contextlib.contextmanager
def serving(model_dir: Path, log: Path) -> Iterator[Server]:
    """Serve a model dir in a process of its own for as long as the block lasts.

    Raises:
        ModelError: it ends, or is not ready within two minutes; names its log.
    """
    http, grpc = _free_port(), _free_port()
    command = [
        sys.executable, "-m", "serving.predictors", "--model_name", "shelf-detector",
        "--model_dir", str(model_dir), "--http_port", str(http), "--grpc_port", str(grpc),
    ]  # fmt: skip
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink, subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT) as process:
        server = Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}")
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.http}/v2/models/shelf-detector/ready").is_success:
                return
        time.sleep(0.2)
    raise ModelError(f"the predictor did not become ready; see {log}")


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
    from stocktake.shelf.detector import ShelfReport
    from stocktake.shelf.drawing import draw_report
    from stocktake.shelf.voids import Void

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
    for name in ("annotated.jpg", "voids.json", "report.html", "model"):
        say(f"  {out_dir / name}")
    uri = tracking_uri()
    command = f"with `.venv/bin/mlflow server --backend-store-uri {uri}`"
    say(f"compare runs {f'at {uri}' if uri.startswith('http') else command}")


if __name__ == "__main__":
    sys.exit(main())

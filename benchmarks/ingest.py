"""Throughput and memory of ingest beside the plainest thing that does the same checks.

    python benchmarks/ingest.py --photos 240 --rounds 3

The plain way unpacks the archive with `tar -x`, then takes the SHA-256 of every photo and decodes it to its
last byte, with the same decode and as many threads. Both run in processes of their own, in turn, on an
archive of drawn photos of 2448x3264 px, read from and written to the same disk. The time runs from after the
imports to the end, ours with index and reports. Goal: at least .8 of the plain throughput, and a peak memory
that stays the same when the archive is four times as long.
"""

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GOAL = 0.8
# photos that are drawn; the archive repeats them, each time with other bytes after the end marker
DISTINCT = 12


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photos", type=int, default=240, help="photos in the archive (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="threads of each way"
    )
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, archive, out, workers = options.child
        seconds = {"plain": plain, "ours": ours}[way](Path(archive), Path(out), int(workers))
        print(seconds)
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="benchmark-ingest-") as folder:
        measure(Path(folder), options.photos, options.rounds, options.workers)


def measure(folder: Path, photos: int, rounds: int, workers: int) -> None:
    """Compare the ways in turn, then ours on a short and a long archive."""
    drawn = draw_photos(folder / "drawn")
    archive = make_archive(folder / "set.tar.gz", drawn, photos)
    size = archive.stat().st_size
    print(f"{photos} photos of 2448x3264 px, {size / 1e6:.0f} MB, {workers} threads, {rounds} rounds in turn")
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    cores: dict[str, list[float]] = {"plain": [], "ours": []}
    peaks: dict[str, float] = {}
    for _ in range(rounds):
        for way, seconds in times.items():
            taken, core, peaks[way] = run_child(way, archive, folder / "out", workers)
            seconds.append(taken)
            cores[way].append(core)
    for way, seconds in times.items():
        middle = statistics.median(seconds)
        print(
            f"  {way:5}  {middle:6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})  "
            f"{photos / middle:6.1f} photos/s  {size / middle / 1e6:6.1f} MB/s  "
            f"{statistics.median(cores[way]):.2f} core seconds with imports  peak {peaks[way]:.0f} MB"
        )
    ratio = statistics.median(times["plain"]) / statistics.median(times["ours"])
    print(f"  throughput of ours over plain: {ratio:.2f} (goal {GOAL})")
    long = make_archive(folder / "long.tar.gz", drawn, 4 * photos)
    _, _, peak = run_child("ours", long, folder / "out", workers)
    print(
        f"  peak memory of ours: {peaks['ours']:.0f} MB for {photos} photos, {peak:.0f} MB for {4 * photos}"
    )


def plain(archive: Path, out: Path, workers: int) -> float:
    """`tar -x`, then digest and decode every photo."""
    import hashlib

    import cv2
    import numpy as np

    def check(path: Path) -> None:
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None

    begun = time.perf_counter()
    out.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(out)], check=True)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(check, (out / "SKU110K_fixed/images").iterdir()))
    return time.perf_counter() - begun


def ours(archive: Path, out: Path, workers: int) -> float:
    """The ingest that the pipeline calls."""
    import matplotlib.figure  # noqa: F401  the report's plots
    import pandas  # noqa: F401  pyarrow looks for it

    from stocktake.shelf.sku110k import ingest

    begun = time.perf_counter()
    ingest(str(archive), out, store=str(out / "store"), workers=workers, progress=False)
    return time.perf_counter() - begun


def run_child(way: str, archive: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Seconds, seconds of all cores, and peak resident memory in MB, of one run in a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "--child", way, str(archive), str(out), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        seconds = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{way} failed")
    return float(seconds), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def draw_photos(folder: Path) -> Path:
    """A few drawn photos at the size of SKU-110K's."""
    from stocktake.synthetic.draw_settings import DrawSettings
    from stocktake.synthetic.shelves import write_dataset

    settings = DrawSettings(width=2448, height=3264, landscape=0, jpeg_quality=(85, 93))
    return write_dataset(folder, {"train": DISTINCT}, settings)


def make_archive(path: Path, drawn: Path, photos: int) -> Path:
    """A tar.gz in SKU-110K's layout, annotations first, of `photos` photos that all differ."""
    sources = [file.read_bytes() for file in sorted((drawn / "images").iterdir())]
    names = [file.name for file in sorted((drawn / "images").iterdir())]
    rows: dict[str, list[str]] = {name: [] for name in names}
    for line in (drawn / "annotations/annotations_train.csv").read_text().splitlines():
        name, _, rest = line.partition(",")
        rows[name].append(rest)
    lines = [f"train_{n}.jpg,{rest}\n" for n in range(photos) for rest in rows[names[n % len(names)]]]
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        add(tar, "annotations/annotations_train.csv", "".join(lines).encode())
        for number in range(photos):
            add(tar, f"images/train_{number}.jpg", sources[number % len(sources)] + number.to_bytes(8))
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append one file."""
    member = tarfile.TarInfo(f"SKU110K_fixed/{name}")
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main()

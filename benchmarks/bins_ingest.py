"""Ingest of many small objects from a real S3 server, beside the plainest way to read them.

    python benchmarks/bins_ingest.py --objects 100000

Puts drawn bins (a tiny JPEG and its metadata each, two objects) into a MinIO of its own. The plain way gets
every object with the minio client from as many threads and does nothing with it; the keys are given to it.
Ours lists, parses, takes digests, decodes and writes index and report. Each runs in a process of its own, in
turn. Then the peak memory for a quarter of the objects, and what a run reads again that was killed about half
way. Goals: at least .6 of the plain throughput, memory that does not grow with the bytes of photos, and at
most 1 % of the objects read twice.
"""

import argparse
import json
import mmap
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.plain_bins import metadata, photo_bytes
from tests.programs import find_program
from tests.s3_server import S3Server

BUCKET, WHOLE, QUARTER = "bins", "whole", "quarter"
DISTINCT = 64  # drawn photos; they are repeated, each time with other bytes after the end marker
GOAL = 0.6


def main() -> None:
    """Draw, measure, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument(
        "--objects", type=int, default=100_000, help="photos and metadata (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=8, help="threads of each way (default: %(default)s)")
    parser.add_argument("--photo-bytes", type=int, default=0, help="pad photos to this size, to weigh memory")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, prefix, out, workers = options.child
        print({"plain": plain, "ours": ours}[way](prefix, Path(out), int(workers)))
        return
    binary = find_program("minio")
    if binary is None:
        raise SystemExit("there is no MinIO binary; `make services` builds one")
    runs = Path("runs")  # a disk with room, which /tmp may not be
    runs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs.absolute(), prefix="benchmark-bins-") as name:
        folder = Path(name)
        server = S3Server(binary, folder)
        server.start()
        try:
            os.environ.update(
                S3_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID=server.key, AWS_SECRET_ACCESS_KEY=server.secret
            )
            measure(server, folder / "out", options)
        finally:
            server.kill()


def measure(server: S3Server, out: Path, options: argparse.Namespace) -> None:
    """The three comparisons."""
    bins, workers = options.objects // 2, options.workers
    server.client().make_bucket(BUCKET)
    for prefix, count in ((WHOLE, bins), (QUARTER, bins // 4)):
        fill(server, prefix, count, options.photo_bytes)
    print(f"{2 * bins:,} objects, {workers} threads, {options.rounds} rounds in turn", flush=True)
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    peaks: dict[str, float] = {}
    for _ in range(options.rounds):
        for way, found in rates.items():
            shutil.rmtree(out, ignore_errors=True)
            seconds, peaks[way] = run_child(way, WHOLE, out, workers)
            found.append(2 * bins / seconds)
    for way, found in rates.items():
        print(
            f"  {way:5}  {statistics.median(found):6.0f} objects/s ({min(found):.0f} to {max(found):.0f})"
            f"  peak {peaks[way]:.0f} MB",
            flush=True,
        )
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["plain"])
    print(f"  throughput of ours over plain: {ratio:.2f} (goal {GOAL})", flush=True)
    print(f"  index of {(out / 'index.parquet').stat().st_size / 1e6:.1f} MB")
    shutil.rmtree(out)
    _, quarter = run_child("ours", QUARTER, out, workers)
    per_bin = (peaks["ours"] - quarter) * 1e6 / (bins - bins // 4)
    print(
        f"  peak memory of ours: {quarter:.0f} MB for {2 * (bins // 4):,} objects, {peaks['ours']:.0f} MB for"
        f" {2 * bins:,}: ratio {peaks['ours'] / quarter:.2f}, {per_bin:.0f} bytes more per bin",
        flush=True,
    )
    restart(out, bins, workers)


def restart(out: Path, bins: int, workers: int) -> None:
    """Kill a run half way and within a bucket, run it again and count what was read twice."""
    shutil.rmtree(out)
    with start_child("ours", WHOLE, out, workers) as child:
        while read_counter(out) < bins + 150 and child.poll() is None:
            time.sleep(0.02)
        child.kill()
    first = read_counter(out)
    seconds, _ = run_child("ours", WHOLE, out, workers)
    second = read_counter(out) - first
    twice = first + second - 2 * bins
    print(
        f"  killed after {first:,} objects were read; the second run read {second:,} in {seconds:.1f} s:"
        f" {twice:,} twice, {twice / (2 * bins):.2%} of all (goal at most 1 %)"
    )


def plain(prefix: str, _: Path, workers: int) -> float:
    """GET every object."""
    from stocktake.s3_store import _client
    from stocktake.settings import load_settings

    client = _client(load_settings(workers=workers))
    keys = [item.object_name for item in client.list_objects(BUCKET, f"{prefix}/", recursive=True)]

    def get(key: str) -> None:
        response = client.get_object(BUCKET, key)
        response.read()
        response.close()
        response.release_conn()

    begun = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(get, keys):
            pass
    return time.perf_counter() - begun


def ours(prefix: str, out: Path, workers: int) -> float:
    """The ingest that the pipeline calls; how many objects were read is counted where a kill leaves it."""
    import matplotlib.figure  # noqa: F401  the report's plots
    import pandas  # noqa: F401  pyarrow looks for it

    from stocktake.bins.abid import ingest
    from stocktake.s3_store import S3Store

    counter = _Counter(out)
    get = S3Store.get
    S3Store.get = lambda *args, **kwargs: counter.after(get(*args, **kwargs))  # type: ignore[method-assign]
    begun = time.perf_counter()
    ingest(f"s3://{BUCKET}/{prefix}", out, workers=workers, progress=False)
    return time.perf_counter() - begun


class _Counter:
    """A number in a mapped file."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "objects-read"
        self.value = read_counter(folder)
        path.write_bytes(struct.pack("<q", self.value))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)
        self._lock = threading.Lock()

    def after(self, result: bytes) -> bytes:
        """Count one more, and pass on what it gave."""
        with self._lock:
            self.value += 1
            self._map[:] = struct.pack("<q", self.value)
        return result


def read_counter(folder: Path) -> int:
    """Objects read so far, by all runs into this folder."""
    path = folder / "objects-read"
    return struct.unpack("<q", path.read_bytes())[0] if path.exists() else 0


def start_child(way: str, prefix: str, out: Path, workers: int) -> subprocess.Popen[str]:
    """One way in a process of its own."""
    command = [sys.executable, __file__, "--child", way, prefix, str(out), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run_child(way: str, prefix: str, out: Path, workers: int) -> tuple[float, float]:
    """Seconds, and peak resident memory in MB."""
    with start_child(way, prefix, out, workers) as child:
        assert child.stdout is not None
        seconds = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{way} failed")
    return float(seconds), usage.ru_maxrss / 1e3


def fill(server: S3Server, prefix: str, bins: int, photo_size: int) -> None:
    """Put drawn bins of 1 to 5 items, of which two neighbours show one."""
    import io

    client = server.client()
    photos = [photo_bytes(str(number), (48, 32)) for number in range(DISTINCT)]

    def put(number: int) -> None:
        bin_id = f"{number + 1:05d}"
        photo = (photos[number % DISTINCT] + number.to_bytes(8)).ljust(photo_size, b"\0")
        text = json.dumps(metadata({f"B{number // 2:09d}": number % 5 + 1})).encode()
        for key, data in ((f"bin-images/{bin_id}.jpg", photo), (f"metadata/{bin_id}.json", text)):
            client.put_object(BUCKET, f"{prefix}/{key}", io.BytesIO(data), len(data))

    begun = time.perf_counter()
    _for_each(put, range(bins))
    print(f"  put {2 * bins:,} objects in {time.perf_counter() - begun:.0f} s", flush=True)


def _for_each(work: Callable[[int], None], items: Iterable[int]) -> None:
    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(work, items):
            pass


if __name__ == "__main__":
    main()

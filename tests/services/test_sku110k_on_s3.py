"""Ingest to and from a real S3 server."""

import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from stocktake.dataset import fetch_photos, read_photo_bytes
from stocktake.shelf.sku110k import ingest
from stocktake.storage import open_store, put_files
from tests.sku110k_set import taken


@pytest.fixture
def shelves(tmp_path) -> Path:
    folder = tmp_path / "shelves"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    rows = ""
    for number in range(80):
        pixels = np.random.default_rng(number).integers(0, 256, (120, 160, 3), np.uint8)
        name = f"train_{number}.jpg"
        (folder / "images" / name).write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
        rows += f"{name},1,2,30,40,object,160,120\n"
    (folder / "annotations/annotations_train.csv").write_text(rows)
    return folder


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.005)


def test_a_prefix_is_referenced_in_place(shelves, bucket, tmp_path):
    source = f"s3://{bucket}/mapped/set"
    files = [path for path in shelves.rglob("*") if path.is_file()]
    put_files(open_store(source), [(path.relative_to(shelves).as_posix(), path) for path in files])
    before = list(open_store(f"s3://{bucket}").list())
    report, index = taken(ingest(source, tmp_path / "out", progress=False))
    assert list(open_store(f"s3://{bucket}").list()) == before
    assert (report.photos_kept, index.store) == (80, source)
    paths = fetch_photos(index, index.photos, tmp_path / "cache", progress=False)
    assert all(
        path.read_bytes() == (shelves / "images" / photo.name).read_bytes()
        for path, photo in zip(paths, index.photos, strict=True)
    )
    again, _ = taken(ingest(source, tmp_path / "out", progress=False))
    assert (again.examined, again.known) == (0, 80)


def test_an_archive_goes_to_a_store_that_is_killed_meanwhile(shelves, s3, bucket, tmp_path, caplog):
    path = tmp_path / "set.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(shelves, "SKU110K_fixed")
    journal = tmp_path / "out/ingest.journal.jsonl"

    def kill_and_restart() -> None:
        wait_until(lambda: journal.exists() and len(journal.read_text().splitlines()) > 10)
        s3.kill()
        try:
            wait_until(lambda: "try 1 of 8" in caplog.text)
        finally:
            s3.start()

    with ThreadPoolExecutor() as pool:
        outage = pool.submit(kill_and_restart)
        made = ingest(str(path), tmp_path / "out", store=f"s3://{bucket}/store", workers=3, progress=False)
    outage.result()
    report, index = taken(made)
    assert (report.photos_kept, report.examined) == (80, 80)
    keys = [item.key for item in open_store(index.store).list()]
    assert sorted(keys) == sorted(photo.uri for photo in index.photos)
    for photo in index.photos:
        assert read_photo_bytes(index, photo) == (shelves / "images" / photo.name).read_bytes()

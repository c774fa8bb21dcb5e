"""Bins from and to a real S3 server: in place, anonymously, through outages, kills and damage."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stocktake.bins.abid import ingest
from stocktake.bins.abid_merge import merge
from stocktake.bins.verify import verify
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import DataError, StoreError
from stocktake.storage import open_store, put_files
from tests.plain_bins import write_bin, write_bins

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def bins(tmp_path) -> Path:
    source = write_bins(tmp_path / "bins", 230, first=40)
    write_bin(source, "00100", b"<html>")
    return source


@pytest.fixture
def remote(bins, bucket) -> str:
    """The bins below a prefix of a bucket."""
    upload(bins, f"s3://{bucket}/some/prefix")
    return f"s3://{bucket}/some/prefix"


def upload(folder: Path, uri: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    put_files(
        open_store(uri), [(path.relative_to(folder).as_posix(), path) for path in files], progress=False
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.005)


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def publish(client, bucket: str) -> None:
    actions = (("s3:ListBucket", f"arn:aws:s3:::{bucket}"), ("s3:GetObject", f"arn:aws:s3:::{bucket}/*"))
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": [action], "Resource": [resource]}
        for action, resource in actions
    ]
    client.set_bucket_policy(bucket, json.dumps({"Version": "2012-10-17", "Statement": statements}))


def test_a_prefix_is_referenced_in_place_and_gives_what_a_folder_gives(bins, remote, bucket, tmp_path):
    before = list(open_store(f"s3://{bucket}").list())
    index = DatasetIndex.read(ingest(remote, tmp_path / "out", progress=False))
    assert list(open_store(f"s3://{bucket}").list()) == before
    local = DatasetIndex.read(ingest(str(bins), tmp_path / "local", progress=False))
    assert (index.store, index.digest) == (remote, local.digest)
    for photo in index.photos[::40]:
        assert read_photo_bytes(index, photo) == (bins / "bin-images" / photo.name).read_bytes()
    assert report_of(tmp_path / "out")["left_out"] == report_of(tmp_path / "local")["left_out"]
    ingest(remote, tmp_path / "out", progress=False)
    assert (report_of(tmp_path / "out")["read"], report_of(tmp_path / "out")["known"]) == (0, 230)
    write_bin(bins, "00250", {"B0": 9})
    upload(bins, remote)
    ingest(remote, tmp_path / "out", progress=False)
    assert (report_of(tmp_path / "out")["read"], report_of(tmp_path / "out")["known"]) == (70, 160)


def test_a_file_list_asks_for_its_bins_only(remote, tmp_path):
    path = tmp_path / "file_list.json"
    path.write_text(json.dumps({"3": ["data/metadata/00042.json", "data/metadata/00999.json"]}))
    index = DatasetIndex.read(ingest(remote, tmp_path / "out", file_list=path, progress=False))
    assert [(photo.name, photo.quantity) for photo in index.photos] == [("00042.jpg", 3)]
    assert report_of(tmp_path / "out")["left_out"] == {"metadata_missing": {"00999": "nor is its photo"}}


def test_a_public_bucket_needs_no_keys(bins, remote, s3, bucket, tmp_path, monkeypatch):
    address = remote.replace("s3://", f"{s3.url}/")
    with pytest.raises(StoreError, match="AccessDenied"):
        ingest(address, tmp_path / "denied", store=str(tmp_path / "store"), progress=False)
    publish(s3.client(), bucket)
    index = DatasetIndex.read(
        ingest(address, tmp_path / "out", store=str(tmp_path / "store"), progress=False)
    )
    assert len(index.photos) == 229
    assert index.store == str(tmp_path / "store/datasets/prefix")
    assert all(photo.uri.endswith(".tar") for photo in index.photos)
    photo = index.photos[100]
    assert read_photo_bytes(index, photo) == (bins / "bin-images" / photo.name).read_bytes()
    for name in KEYS:
        monkeypatch.delenv(name)
    in_place = DatasetIndex.read(ingest(remote, tmp_path / "in-place", progress=False))
    assert in_place.digest == index.digest


def test_an_outage_of_the_server_is_outlived(bins, remote, s3, bucket, tmp_path, caplog):
    out = tmp_path / "out"

    def kill_and_restart() -> None:
        wait_until(lambda: (out / "parts/bins-000.json.gz").exists())
        s3.kill()
        try:
            wait_until(lambda: "try 1 of 8" in caplog.text)
        finally:
            s3.start()

    with ThreadPoolExecutor() as pool:
        outage = pool.submit(kill_and_restart)
        path = ingest(remote, out, store=f"s3://{bucket}/store", copy=True, workers=2, progress=False)
    outage.result()
    index = DatasetIndex.read(path)
    assert (len(index.photos), report_of(out)["read"]) == (229, 230)
    for photo in index.photos:
        assert read_photo_bytes(index, photo) == (bins / "bin-images" / photo.name).read_bytes()


def test_a_killed_ingest_continues(bins, remote, bucket, tmp_path):
    out, workers = tmp_path / "out", 2
    command = [sys.executable, "-m", "stocktake.cli", "bins", "ingest", remote, "--out", str(out)]
    command += ["--copy", "--store", f"s3://{bucket}/store", "--workers", str(workers)]
    with subprocess.Popen(command) as process:
        wait_until(lambda: (out / "parts/bins-000.json.gz").exists())
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "index.parquet").exists()
    with pytest.raises(DataError, match="no finished shard"):
        merge([out], out)
    index = DatasetIndex.read(ingest(remote, out, store=f"s3://{bucket}/store", copy=True, progress=False))
    report = report_of(out)
    assert report["known"] >= 60
    assert report["read"] + report["known"] == 230
    fresh = DatasetIndex.read(ingest(str(bins), tmp_path / "fresh", progress=False))
    assert index.digest == fresh.digest
    assert verify(f"s3://{bucket}/store", progress=False).present == 229


def test_machines_share_the_work_and_a_store(bins, remote, bucket, tmp_path):
    store = f"s3://{bucket}/store"
    for number in (1, 2, 3):
        folder = tmp_path / f"shard{number}"
        ingest(remote, folder, store=store, copy=True, shard=f"{number}/3", progress=False)
    folders = [tmp_path / f"shard{number}" for number in (3, 1, 2)]
    merged = DatasetIndex.read(merge(folders, tmp_path / "merged"))
    whole = DatasetIndex.read(ingest(remote, tmp_path / "whole", store=store, copy=True, progress=False))
    for one, other in zip(merged.photos, whole.photos, strict=True):
        assert (one.name, one.uri, one.offset, one.group) == (
            other.name,
            other.uri,
            other.offset,
            other.group,
        )
    assert merged.digest == whole.digest
    assert len([item for item in open_store(store).list() if item.key.endswith(".tar")]) == 3


def test_verify_names_what_is_missing_or_damaged(remote, bucket, tmp_path, s3):
    ingest(remote, tmp_path / "out", store=f"s3://{bucket}/store", copy=True, progress=False)
    whole = verify(f"s3://{bucket}/store", progress=False)
    assert (whole.expected, whole.present, whole.is_whole) == (229, 229, True)
    store = open_store(f"s3://{bucket}/store/datasets/prefix")
    first, second, third = sorted(item.key for item in store.list() if item.key.endswith(".tar"))
    s3.client().remove_object(bucket, f"store/datasets/prefix/{first}")
    data = store.get(second)
    store.put(second, data[:4096] + bytes(len(data) - 4096))
    report = verify(f"s3://{bucket}/store", progress=False)
    assert (report.expected, len(report.missing)) == (229, 60)
    assert 90 < len(report.wrong) < 100
    assert report.present == 229 - 60 - len(report.wrong)
    assert {where for where, _ in report.missing} == {store.url(first)}
    ingest(remote, tmp_path / "out", store=f"s3://{bucket}/store", copy=True, progress=False)
    assert report_of(tmp_path / "out")["read"] == 160
    assert verify(f"s3://{bucket}/store", progress=False).is_whole
    assert store.exists(third)


def test_a_bucket_without_bins_is_an_error(bucket, tmp_path):
    with pytest.raises(DataError, match="empty; expected the folders bin-images"):
        ingest(f"s3://{bucket}/nothing", tmp_path / "out", progress=False)

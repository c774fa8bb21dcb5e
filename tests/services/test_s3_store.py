"""The S3 store against a real server, healthy, killed, wrong or not there."""

import contextlib
import hashlib
import io
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stocktake.errors import StoreError
from stocktake.storage import Wanted, fetch_files, open_store, put_files
from tests.ports import free_port

MIB = 1 << 20


def some_bytes(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    found = {}
    for number in range(40):
        path = folder / f"photo_{number}.jpg"
        path.write_bytes(some_bytes(200_000 + number, number))
        found[f"images/{path.name}"] = path
    return found


def stored_keys(store) -> list[str]:
    return [item.key for item in store.list()]


def unfinished_uploads(s3, bucket: str) -> list[str]:
    return [upload.object_name for upload in s3.client()._list_multipart_uploads(bucket, prefix="").uploads]


def test_an_object_comes_back_as_it_went(store, tmp_path):
    data = some_bytes(3 * MIB, 1)
    store.put("a/b c/ü.bin", data)
    assert store.get("a/b c/ü.bin") == data
    assert store.get("a/b c/ü.bin", 100, 50) == data[100:150]
    assert store.get("a/b c/ü.bin", 7, 0) == b""
    assert store.exists("a/b c/ü.bin")
    assert not store.exists("a/b c")
    assert store.stat("nothing") is None
    (listed,) = store.list()
    assert store.stat("a/b c/ü.bin").size == listed.size == len(data)
    for found in (store.stat("a/b c/ü.bin"), listed):
        assert abs(found.put_at - datetime.now(UTC)) < timedelta(minutes=10)
    assert store.holds("a/b c/ü.bin", len(data), sha256(data))
    assert not store.holds("a/b c/ü.bin", len(data), sha256(b"other"))
    store.get_to("a/b c/ü.bin", tmp_path / "deep/er/file")
    assert (tmp_path / "deep/er/file").read_bytes() == data
    assert store.url("x").endswith("/some/prefix/x")


def test_what_is_deleted_is_gone(store):
    for key in ("a/one", "a/two"):
        store.put(key, key.encode())
    store.delete("a/one")
    store.delete("a/one")
    assert [item.key for item in store.list()] == ["a/two"]


def test_a_large_file_goes_up_in_parts(store, s3, bucket, tmp_path):
    source = tmp_path / "model.pt"
    source.write_bytes(some_bytes(40 * MIB + 5, 2))
    store.put("model.pt", source)
    assert "-" in store.stat("model.pt").version  # the ETag of an upload in parts
    store.get_to("model.pt", tmp_path / "back.pt")
    assert (tmp_path / "back.pt").read_bytes() == source.read_bytes()
    assert unfinished_uploads(s3, bucket) == []


def test_an_empty_object(store, tmp_path):
    store.put("empty", b"")
    assert store.get("empty") == b""
    store.get_to("empty", tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_listing_of_several_pages_is_whole(store, tmp_path):
    source = tmp_path / "tiny"
    source.write_bytes(b"x")
    keys = [f"many/{number:04}" for number in range(1003)]
    put_files(store, ((key, source) for key in keys), progress=False)
    store.put("other/1", b"y")
    assert [item.key for item in store.list("many/")] == keys
    assert stored_keys(store) == [*keys, "other/1"]


def test_put_and_fetch_skip_what_is_there(store, files, tmp_path):
    first = put_files(store, files.items(), progress=False)
    assert (first.moved, first.skipped) == (40, 0)
    next(iter(files.values())).write_bytes(b"changed")
    second = put_files(store, files.items(), progress=False)
    assert (second.moved, second.skipped, second.moved_bytes) == (1, 39, 7)

    wanted = [Wanted(key, tmp_path / "out" / key, sha256(path.read_bytes())) for key, path in files.items()]
    assert fetch_files(store, wanted, progress=False).moved == 40
    wanted[3].path.write_bytes(b"damaged")
    again = fetch_files(store, wanted, progress=False)
    assert (again.moved, again.skipped) == (1, 39)
    assert all(sha256(item.path.read_bytes()) == item.sha256 for item in wanted)


def test_nothing_is_lost_when_the_server_is_killed_while_photos_go_up(store, s3, bucket, files, caplog):
    def sources() -> Iterator[tuple[str, Path]]:
        for number, pair in enumerate(files.items()):
            if number == 20:
                s3.kill()
                threading.Timer(1.5, s3.start).start()
            yield pair

    report = put_files(store, sources(), workers=4, progress=False)
    assert "try 1 of 8" in caplog.text  # it did hit transfers
    assert report.moved + report.skipped == len(files)
    assert stored_keys(store) == sorted(files)
    for key, path in files.items():
        assert store.get(key) == path.read_bytes()
    assert unfinished_uploads(s3, bucket) == []
    assert put_files(store, files.items(), progress=False).skipped == len(files)


def test_nothing_is_lost_when_the_server_is_killed_while_photos_come_down(store, s3, files, tmp_path, caplog):
    put_files(store, files.items(), progress=False)

    def wanted() -> Iterator[Wanted]:
        for number, (key, path) in enumerate(files.items()):
            if number == 20:
                s3.kill()
                threading.Timer(1.5, s3.start).start()
            yield Wanted(key, tmp_path / "out" / key, sha256(path.read_bytes()))

    report = fetch_files(store, wanted(), workers=4, progress=False)
    assert "try 1 of 8" in caplog.text
    assert report.moved == len(files)
    found = sorted(path.name for path in (tmp_path / "out/images").iterdir())
    assert found == sorted(path.name for path in files.values())
    for key, path in files.items():
        assert (tmp_path / "out" / key).read_bytes() == path.read_bytes()


def test_a_killed_upload_continues(store, files, tmp_path):
    program = (
        "import sys, pathlib, time\n"
        "from stocktake.storage import open_store, put_files\n"
        "def sources():\n"
        "    for number, path in enumerate(sorted(pathlib.Path(sys.argv[2]).iterdir())):\n"
        "        if number == 25: print('half', flush=True); time.sleep(600)\n"
        "        yield f'images/{path.name}', path\n"
        "put_files(open_store(sys.argv[1]), sources(), workers=2, progress=False)\n"
    )
    folder = next(iter(files.values())).parent
    with subprocess.Popen(
        [sys.executable, "-c", program, store.uri, str(folder)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
    before = len(stored_keys(store))
    assert 1 <= before < len(files)
    report = put_files(store, files.items(), progress=False)
    assert report.skipped == before
    assert report.moved == len(files) - before
    assert stored_keys(store) == sorted(files)


class CuttingProxy(threading.Thread):
    """Forwards connections to a port, and cuts the first answer that is longer than `limit` bytes."""

    def __init__(self, port: int, limit: int):
        super().__init__(daemon=True)
        self._target, self._limit = port, limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        self.requests = b""
        self.answered = 0

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while block := source.recv(65536):
                passed += len(block)
                if is_answer:
                    self.answered += len(block)
                    if passed > self._limit and not self.cuts:
                        self.cuts += 1
                        break
                else:
                    self.requests += block
                target.sendall(block)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_download_that_is_cut_asks_for_the_rest_only(s3, bucket, store, tmp_path):
    data = some_bytes(32 * MIB, 3)
    store.put("weights.pt", data)
    proxy = CuttingProxy(s3.port, 20 * MIB)
    proxy.start()
    settings = s3.settings().model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
    cut = open_store(f"s3://{bucket}/some/prefix", settings)
    assert cut.exists("weights.pt")  # from here on the server is known to be there
    cut.get_to("weights.pt", tmp_path / "weights.pt", sha256(data))
    proxy.close()
    assert (tmp_path / "weights.pt").read_bytes() == data
    assert proxy.cuts == 1
    assert b"range: bytes=" in proxy.requests.lower()
    assert proxy.answered < 36 * MIB


def test_the_rest_of_a_download_never_comes_from_another_object(s3, bucket, store, tmp_path, monkeypatch):
    size = 12 * MIB
    first, second = (io.BytesIO(some_bytes(size, seed)) for seed in (3, 4))

    def put(data: io.BytesIO) -> None:  # by another program: no digest is kept with it
        s3.client().put_object(bucket, "some/prefix/weights.pt", data, size, part_size=16 * MIB)

    put(first)
    proxy = CuttingProxy(s3.port, 6 * MIB)
    proxy.start()
    settings = s3.settings().model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
    cut = open_store(f"s3://{bucket}/some/prefix", settings)
    assert cut.exists("weights.pt")
    monkeypatch.setattr("time.sleep", lambda _: put(second))  # in the pause before the next try
    with pytest.raises(StoreError, match=r"weights\.pt: the object was replaced while it was read"):
        cut.get_to("weights.pt", tmp_path / "weights.pt")
    proxy.close()
    assert proxy.cuts == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_object_is_not_handed_out(store, s3, bucket, tmp_path):
    store.put("photo.jpg", b"original")
    metadata = {"x-amz-meta-sha256": sha256(b"original")}
    s3.client().put_object(bucket, "some/prefix/photo.jpg", io.BytesIO(b"tampered"), 8, metadata=metadata)
    with pytest.raises(StoreError, match="SHA-256"):
        store.get("photo.jpg")
    with pytest.raises(StoreError, match="SHA-256"):
        store.get_to("photo.jpg", tmp_path / "photo.jpg")
    assert list(tmp_path.iterdir()) == []


def test_errors_say_what_to_do(s3, bucket, store):
    with pytest.raises(StoreError, match="there is no such object"):
        store.get("nothing")
    with pytest.raises(StoreError, match=r"no bucket 'not-there'.*s3 mb s3://not-there"):
        open_store("s3://not-there/x").put("key", b"")
    with pytest.raises(StoreError, match="bucket name"):
        open_store("s3://A/x").put("key", b"")
    wrong = s3.settings().model_copy(update={"aws_access_key_id": "someone"})
    with pytest.raises(StoreError, match="check AWS_ACCESS_KEY_ID"):
        open_store(f"s3://{bucket}", wrong).put("key", b"")


def test_a_store_that_is_down_is_told_within_seconds(s3, bucket):
    url = f"http://127.0.0.1:{free_port()}"
    down = s3.settings().model_copy(update={"s3_endpoint_url": url, "s3_retries": 1})
    with pytest.raises(StoreError, match=f"{url} does not answer.*S3_ENDPOINT_URL"):
        open_store(f"s3://{bucket}", down).get("key")


def test_tries_are_bounded_when_the_server_stays_away(s3, bucket):
    store = open_store(f"s3://{bucket}", s3.settings(s3_retries=1))
    store.put("key", b"data")
    s3.kill()
    try:
        with pytest.raises(StoreError, match="does not answer"):
            store.get("key")
    finally:
        s3.start()
    assert store.get("key") == b"data"

import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stocktake.errors import StoreError
from stocktake.files import atomic_path
from stocktake.parallel import map_bounded
from stocktake.storage import Wanted, fetch_files, open_store, put_files


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_object_comes_back_as_it_went(store, tmp_path):
    store.put("images/a.jpg", b"0123456789")
    assert store.get("images/a.jpg") == b"0123456789"
    assert store.get("images/a.jpg", 2, 3) == b"234"
    assert store.exists("images/a.jpg")
    assert not store.exists("images")
    assert store.stat("images/b.jpg") is None
    assert store.holds("images/a.jpg", 10, sha256(b"0123456789"))
    assert not store.holds("images/a.jpg", 10, sha256(b"9876543210"))
    assert store.url("images/a.jpg") == str(tmp_path / "store/images/a.jpg")
    before = store.stat("images/a.jpg")
    store.put("images/a.jpg", b"changed")
    assert store.stat("images/a.jpg").version != before.version
    assert abs(store.stat("images/a.jpg").put_at - datetime.now(UTC)) < timedelta(minutes=10)


def test_what_is_deleted_is_gone(store):
    for key in ("a/one", "a/two"):
        store.put(key, key.encode())
    store.delete("a/one")
    store.delete("a/one")
    assert [item.key for item in store.list()] == ["a/two"]


def test_a_listing_shows_finished_objects_below_a_prefix(store, tmp_path):
    assert list(store.list()) == []
    for key in ("images/b.jpg", "images/a.jpg", "images2/c.jpg", "readme"):
        store.put(key, b"x")
    (tmp_path / "store/images/.a.jpg.0123.part").write_bytes(b"half")
    assert [item.key for item in store.list("images/")] == ["images/a.jpg", "images/b.jpg"]
    assert [item.key for item in store.list("im")] == ["images/a.jpg", "images/b.jpg", "images2/c.jpg"]
    assert len(list(store.list())) == 4


def test_a_listing_follows_links_but_no_loop(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").write_bytes(b"x")
    store.put("readme", b"x")
    (tmp_path / "store/images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "store")
    assert [item.key for item in store.list()] == ["images/a.jpg", "readme"]


def test_reading_makes_no_folder(store, tmp_path):
    list(store.list())
    assert not store.exists("x")
    with pytest.raises(StoreError, match="no such file"):
        store.get("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a/", "a\\b", "a\0b"]
)
def test_a_key_stays_inside_the_store(store, key):
    with pytest.raises(StoreError, match="is no key"):
        store.put(key, b"x")
    with pytest.raises(StoreError, match="is no key"):
        store.get(key)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://bucket/x", "'gs' is unknown"),
        ("", "empty"),
        ("s3:///prefix", "needs a bucket"),
        ("s3://b/a/../c", "key"),
    ],
)
def test_an_unknown_uri_is_refused(uri, message):
    with pytest.raises(StoreError, match=message):
        open_store(uri)


def test_a_file_uri_is_a_folder(tmp_path):
    open_store(f"file://{tmp_path}/with%20space").put("a", b"x")
    assert (tmp_path / "with space/a").read_bytes() == b"x"


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "card.json"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk or the quota is full"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_disk_that_fails_is_one_clear_error(store, tmp_path, monkeypatch, number, message):
    def fail(path: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StoreError, match=f"images/a.jpg.*{message}"):
        store.put("images/a.jpg", b"x")
    assert list((tmp_path / "store/images").iterdir()) == []


def test_no_permission_is_one_clear_error(store, tmp_path):
    store.put("a", b"x")
    (tmp_path / "store").chmod(0o500)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(StoreError, match=r"store.*no permission; change its owner or mode"):
            store.put("b", b"x")
    finally:
        os.seteuid(user)
        (tmp_path / "store").chmod(0o700)


def test_transfers_count_and_skip(store, tmp_path):
    files = {f"deep/{number}": tmp_path / f"{number}.bin" for number in range(30)}
    for number, path in enumerate(files.values()):
        path.write_bytes(bytes([number]) * 1000)
    first = put_files(store, files.items(), workers=3, progress=False)
    assert (first.moved, first.skipped, first.moved_bytes) == (30, 0, 30_000)
    files["deep/3"].write_bytes(b"new")
    second = put_files(store, files.items(), workers=3, progress=False)
    assert (second.moved, second.skipped, second.moved_bytes) == (1, 29, 3)

    wanted = [Wanted(key, tmp_path / "out" / key, sha256(path.read_bytes())) for key, path in files.items()]
    assert fetch_files(store, wanted, progress=False).moved == 30
    wanted[7].path.write_bytes(b"damaged")
    again = fetch_files(store, wanted, progress=False)
    assert (again.moved, again.skipped) == (1, 29)
    assert wanted[7].path.read_bytes() == bytes([7]) * 1000


def test_a_changed_object_is_not_fetched_for_the_wanted_one(store, tmp_path):
    store.put("a", b"other bytes")
    with pytest.raises(StoreError, match="its SHA-256 is not"):
        fetch_files(store, [Wanted("a", tmp_path / "a", sha256(b"wanted"))], progress=False)
    assert not (tmp_path / "a").exists()


def test_a_missing_source_stops_the_upload(store, tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.bin: there is no such file"):
        put_files(store, [("a", tmp_path / "nothing.bin")], progress=False)


def test_map_bounded_reads_no_further_than_its_window():
    drawn: list[int] = []
    finished: list[int] = []

    def items():
        for number in range(100):
            drawn.append(number)
            assert len(drawn) - len(finished) <= 5
            yield number

    for result in map_bounded(lambda number: number * 2, items(), workers=2, window=4):
        finished.append(result)
    assert sorted(finished) == [number * 2 for number in range(100)]


def test_map_bounded_stops_at_the_first_error():
    drawn: list[int] = []

    def items():
        for number in range(1000):
            drawn.append(number)
            yield number

    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        list(map_bounded(work, items(), workers=2, window=4))
    assert len(drawn) < 20

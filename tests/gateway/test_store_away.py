"""An S3 store that takes connections and never answers: who needs it is told soon, and nobody else waits."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import select

from serving.gateway.deleting import delete_photo
from serving.gateway.gateway import STORED_AT_ONCE, open_photos
from serving.gateway.records.tables import Job, Photo, Task
from serving.gateway.retention import Expired, expire
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import StoreError
from stocktake.folder_store import FolderStore
from tests.gateway.test_retention import DAYS, add_photo, put_stray
from tests.gateway_thread import grey_photo
from tests.silent_server import silent_server

S3 = "s3://bucket/photos"


@pytest.fixture
def silence(monkeypatch):
    """Such a store, to be entered: the connections that it has taken. At the end nobody listens."""

    @contextmanager
    def silent_store():
        with silent_server() as (url, held):
            monkeypatch.setenv("S3_ENDPOINT_URL", url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            yield held

    return silent_store()


@pytest.fixture
def connections(silence):
    with silence as held:
        yield held


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["expire", "delete"])
def test_photos_come_in_while_a_file_cannot_be_deleted(records, tmp_path, connections, how):
    old = add_photo(records, FolderStore(tmp_path / "photos"), 91, "old")
    store = open_photos(load_gateway_settings(photos=S3, store_s=1))
    with ThreadPoolExecutor(1) as pool:
        if how == "expire":
            deleting = pool.submit(expire, records, store, **DAYS, failures=1)
        else:
            deleting = pool.submit(delete_photo, records, store, old)
        wait_for(lambda: connections)
        about = {
            "task": Task.SHELVES,
            "sha256": "0" * 64,
            "size": 9,
            "width": 3,
            "height": 2,
            "format": "png",
        }
        with records.write() as session:
            session.add(Job(owner="cam", task=Task.SHELVES, photos=[Photo(**about)]))
        with pytest.raises(StoreError):
            deleting.result(60)
    with records.read() as session:
        assert session.scalars(select(Photo.expired_at)).all() == [None, None], "the next run deletes it"


class SlowStore(FolderStore):
    """Takes a while to delete a file, and counts those that it was told to delete."""

    told = 0

    def delete(self, key):
        self.told += 1
        time.sleep(0.03)
        super().delete(key)


@pytest.mark.parametrize("what", ["photos", "strays"])
def test_others_write_between_two_files(records, tmp_path, what):
    store = SlowStore(tmp_path / "photos")
    add_photo(records, store, 1, "new")
    for number in range(20):
        if what == "photos":
            add_photo(records, store, 91, f"old {number}")
        else:
            put_stray(store, f"stray {number}", 2)
    with ThreadPoolExecutor(1) as pool:
        expiring = pool.submit(expire, records, store, **DAYS)
        wait_for(lambda: store.told)
        for number in range(5):
            add_photo(records, store, 1, f"comes in {number}")
        told = store.told
        done = expiring.result(60)
    assert (done.files, done.strays) == ((20, 0) if what == "photos" else (0, 20))
    assert told < 20, "a photo came in before all files were deleted"


class BreakingStore(FolderStore):
    """Fails once at each file, and once in a list of them."""

    def __init__(self, root):
        super().__init__(root)
        self.failed = set()

    def fail_once(self, what):
        if what not in self.failed:
            self.failed.add(what)
            raise StoreError("away")

    def delete(self, key):
        self.fail_once(key)
        super().delete(key)

    def list(self, prefix=""):
        for number, found in enumerate(super().list(prefix)):
            if number == 1:
                self.fail_once("list")
            yield found


def test_a_store_that_is_away_for_a_moment_is_asked_again(records, tmp_path):
    store = BreakingStore(tmp_path / "photos")
    add_photo(records, store, 1, "new")
    add_photo(records, store, 91, "old")
    put_stray(store, "stray", 2)
    assert expire(records, store, **DAYS, failures=4) == Expired(photos=1, files=1, strays=1)
    assert len(store.failed) == 3


def test_a_request_asks_the_store_twice(start_gateway, connections):
    gateway = start_gateway(photos=S3, store_s=0.5)
    with gateway.client() as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["photos"], ready.json()["records"]) == (503, False, True)
        assert len(connections) == 2
        photo = {"content": grey_photo(50), "headers": {"Content-Type": "image/png"}}
        answer = client.post("/api/photos?task=bins", **photo)
        assert answer.status_code == 503
        assert answer.json()["error"] == "photos cannot be stored or read now"
        assert len(connections) == 4
        assert client.get("/api/photos").json()["items"] == []


def test_who_needs_the_records_alone_does_not_wait_for_the_store(start_gateway, silence):
    many = STORED_AT_ONCE + 10
    with ThreadPoolExecutor(many) as pool:
        with silence as connections:
            gateway = start_gateway(photos=S3, store_s=50)
            url = f"{gateway.url}/readyz"
            asked = [pool.submit(httpx.get, url, timeout=120, trust_env=False) for _ in range(many)]
            wait_for(lambda: len(connections) == STORED_AT_ONCE)
            with gateway.client() as client:
                assert client.get("/api/photos").status_code == 200
            assert not any(each.done() for each in asked)
        assert {each.result(60).status_code for each in asked} == {503}

import hashlib
import tarfile

import pytest

from stocktake.bins.shards import new_shard
from stocktake.errors import StoreError
from stocktake.storage import open_store

PHOTOS = {"00001.jpg": b"x", "00002.jpg": b"y" * 512, "00003.jpg": b"z" * 1500, "a" * 120 + ".jpg": b"long"}


def test_offsets_find_the_bytes(tmp_path):
    store = open_store(str(tmp_path / "store"))
    with new_shard(tmp_path / "work") as shard:
        offsets = {name: shard.add(name, data) for name, data in PHOTOS.items()}
        key, size, digest = shard.put(store, "photos-000")
    data = (tmp_path / "store" / key).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
    for name, offset in offsets.items():
        assert store.get(key, offset, len(PHOTOS[name])) == PHOTOS[name]
    with tarfile.open(tmp_path / "store" / key) as tar:
        assert tar.getnames() == list(PHOTOS)
    assert list((tmp_path / "work").iterdir()) == []


def test_the_key_tells_what_is_inside(tmp_path):
    store = open_store(str(tmp_path / "store"))
    keys = []
    for photos in ({"1.jpg": b"a"}, {"1.jpg": b"a"}, {"1.jpg": b"b"}, {"2.jpg": b"a"}):
        with new_shard(tmp_path / "work") as shard:
            for name, data in photos.items():
                shard.add(name, data)
            keys.append(shard.put(store, "photos-000")[0])
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert all(key.startswith("photos-000-") and key.endswith(".tar") for key in keys)
    assert len(list(store.list())) == 3


def test_a_shard_that_is_there_is_not_put_again(tmp_path):
    store = open_store(str(tmp_path / "store"))
    times = []
    for _ in range(2):
        with new_shard(tmp_path / "work") as shard:
            shard.add("1.jpg", b"a")
            key = shard.put(store, "photos-000")[0]
        times.append((tmp_path / "store" / key).stat().st_ino)
    assert times[0] == times[1]


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "work").touch()
    with pytest.raises(StoreError, match="work"), new_shard(tmp_path / "work"):
        pass

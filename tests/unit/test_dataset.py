import hashlib
import multiprocessing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stocktake.dataset import DatasetIndex, Photo, TruthVoid, fetch_photos, read_photo_bytes
from stocktake.errors import DataError, StoreError
from stocktake.storage import open_store


def make_photo(name="train_0.jpg", data=b"jpeg", **changes) -> Photo:
    photo = Photo(
        name=name,
        uri=f"images/{name}",
        length=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        width=100,
        height=80,
        split="train",
        group="g",
        boxes=np.array([[1, 2, 30.5, 40], [5, 6, 7, 8]], np.float32),
    )
    return replace(photo, **changes)


@pytest.fixture
def index(tmp_path) -> DatasetIndex:
    store = open_store(str(tmp_path / "store"))
    photos = []
    for number in range(5):
        data = bytes([number]) * (100 + number)
        store.put(f"images/train_{number}.jpg", data)
        photos.append(make_photo(f"train_{number}.jpg", data))
    return DatasetIndex(photos, store.uri, {"name": "five", "left_out": {"excluded": ["train_9.jpg"]}})


def same_rows(left: Photo, right: Photo) -> bool:
    names = [name for name in Photo.__dataclass_fields__ if name != "boxes"]
    return all(getattr(left, n) == getattr(right, n) for n in names) and np.array_equal(
        left.boxes, right.boxes
    )


def test_an_index_comes_back_as_it_went(tmp_path):
    voids = (TruthVoid((1.5, 2, 3, 4), 2, 3, "gap"), TruthVoid((0, 0, 9, 9), 1, 1, "empty_tier"))
    photos = [
        make_photo(voids=voids),
        make_photo("a.jpg", voids=(), boxes=np.zeros((0, 4), np.float32)),
        make_photo("b.jpg", quantity=3, offset=1 << 40),
    ]
    index = DatasetIndex(photos, "s3://bucket/x", {"name": "set", "nested": {"a": [1]}})
    index.write(tmp_path / "deep/index.parquet")
    back = DatasetIndex.read(tmp_path / "deep/index.parquet")
    assert (back.store, back.metadata) == (index.store, index.metadata)
    assert all(same_rows(*pair) for pair in zip(photos, back.photos, strict=True))
    assert back.photos[0].boxes.dtype == np.float32
    assert back.photos[1].voids == ()
    assert back.photos[2].voids is None
    assert back.digest == index.digest


def test_the_digest_ignores_order_and_place(index):
    moved = [replace(photo, uri=f"/elsewhere/{photo.name}", offset=7) for photo in reversed(index.photos)]
    assert DatasetIndex(moved, "s3://other", {}).digest == index.digest


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x.jpg"},
        {"sha256": "0" * 64},
        {"width": 101},
        {"height": 81},
        {"split": "test"},
        {"group": "other"},
        {"quantity": 1},
        {"voids": ()},
        {"voids": (TruthVoid((1, 2, 3, 4), 1, 1, "gap"),)},
        {"boxes": np.array([[1, 2, 30.5, 41], [5, 6, 7, 8]], np.float32)},
    ],
)
def test_the_digest_sees_every_change_of_a_row(index, change):
    changed = [replace(index.photos[0], **change), *index.photos[1:]]
    assert DatasetIndex(changed, index.store).digest != index.digest


@given(
    boxes=arrays(np.float32, st.tuples(st.integers(0, 6), st.just(4)), elements=st.floats(0, 5000, width=32))
)
def test_any_boxes_survive_the_file(tmp_path_factory, boxes):
    path = tmp_path_factory.mktemp("index") / "index.parquet"
    index = DatasetIndex([make_photo(boxes=boxes)], "/store")
    index.write(path)
    back = DatasetIndex.read(path)
    assert np.array_equal(back.photos[0].boxes, boxes)
    assert back.digest == index.digest


def test_an_empty_index(tmp_path):
    DatasetIndex([], "/store").write(tmp_path / "index.parquet")
    assert DatasetIndex.read(tmp_path / "index.parquet").photos == []


def test_a_split_is_chosen_by_name(index):
    index.photos[0] = replace(index.photos[0], split="val")
    assert [photo.name for photo in index.split("val")] == ["train_0.jpg"]
    assert len(index.split("train")) == 4
    with pytest.raises(DataError, match=r"unknown split 'validation'.*train, val, test"):
        index.split("validation")


def test_a_file_that_is_no_index_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such index; make one with `stocktake shelf ingest`"):
        DatasetIndex.read(tmp_path / "index.parquet")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="not a parquet file"):
        DatasetIndex.read(tmp_path / "text")
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="schema 1 was expected, found none"):
        DatasetIndex.read(tmp_path / "other.parquet")


def test_wrong_columns_are_named(tmp_path, index):
    path = tmp_path / "index.parquet"
    index.write(path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["width"]), path)
    with pytest.raises(DataError, match="the columns width are not those"):
        DatasetIndex.read(path)
    wrong = table.set_column(5, pa.field("width", pa.string(), nullable=False), [["100"] * 5])
    pq.write_table(wrong.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(DataError, match="the columns width are not those"):
        DatasetIndex.read(path)


def test_boxes_of_a_wrong_shape_are_refused(tmp_path):
    index = DatasetIndex([make_photo(boxes=np.zeros((2, 5), np.float32))], "/store")
    with pytest.raises(DataError, match=r"train_0.jpg: boxes must have the shape \(n, 4\), found \(2, 5\)"):
        index.write(tmp_path / "index.parquet")


def test_two_photos_of_one_name_are_refused(index, tmp_path):
    path = tmp_path / "index.parquet"
    message = r"index\.parquet: 1 name is given to more than one photo, the first is train_2\.jpg"
    twice = DatasetIndex([*index.photos, replace(index.photos[2], split="val")], index.store)
    with pytest.raises(DataError, match=message):
        twice.write(path)
    assert not path.exists()
    index.write(path)
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(2, 1)]), path)  # as another program might
    with pytest.raises(DataError, match=message):
        DatasetIndex.read(path)


def test_bytes_are_checked(index, tmp_path):
    photo = index.photos[2]
    assert read_photo_bytes(index, photo) == b"\x02" * 102
    (tmp_path / "store/images/train_2.jpg").write_bytes(b"\x02" * 101 + b"x")
    with pytest.raises(DataError, match=r"train_2\.jpg was changed since it was ingested"):
        read_photo_bytes(index, photo)
    (tmp_path / "store/images/train_2.jpg").unlink()
    with pytest.raises(StoreError, match="no such file"):
        read_photo_bytes(index, photo)


def test_a_photo_may_lie_elsewhere_or_within_a_shard(index, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else/shard.tar").write_bytes(b"head" + b"photo" + b"tail")
    photo = make_photo(data=b"photo", uri=str(tmp_path / "else/shard.tar"), offset=4)
    assert read_photo_bytes(index, photo) == b"photo"


def test_the_cache_is_named_by_content_and_repairs_itself(index, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    twin = replace(index.photos[0], name="twin.jpg")
    paths = fetch_photos(index, [*index.photos, twin], cache, progress=False)
    assert [path.name for path in paths] == [photo.sha256 for photo in [*index.photos, twin]]
    assert len(list(cache.iterdir())) == 5
    kept = paths[1].stat().st_mtime_ns
    paths[0].write_bytes(b"damaged")
    paths[3].unlink()
    monkeypatch.setenv("STOCKTAKE_CACHE", str(cache))
    assert fetch_photos(index, index.photos, progress=False) == paths[:5]
    assert [path.read_bytes() for path in paths[:5]] == [bytes([n]) * (100 + n) for n in range(5)]
    assert paths[1].stat().st_mtime_ns == kept


def test_two_processes_may_fill_one_cache(index, tmp_path):
    path, cache = tmp_path / "index.parquet", tmp_path / "cache"
    index.write(path)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_fill, [(path, cache)] * 4)
    assert sorted(p.name for p in cache.iterdir()) == sorted(photo.sha256 for photo in index.photos)


def _fill(path, cache):
    index = DatasetIndex.read(path)
    fetch_photos(index, index.photos, cache, progress=False)

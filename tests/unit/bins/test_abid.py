import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from stocktake.bins import abid
from stocktake.bins.abid import ingest
from stocktake.bins.abid_merge import merge
from stocktake.bins.abid_selection import FileList
from stocktake.bins.abid_source import SUFFIXES, Source, list_named, split_address
from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import DataError, SettingsError, StoreError
from stocktake.folder_store import FolderStore
from stocktake.ingest_shards import Shard
from tests.plain_bins import metadata, photo_bytes, write_bin, write_bins


def ingested(source: Path, out: Path, **arguments) -> tuple[DatasetIndex, dict]:
    path = ingest(str(source), out, progress=False, **arguments)
    assert path == out / "index.parquet"
    return DatasetIndex.read(path), json.loads((out / "report.json").read_text())


def quantities(index: DatasetIndex) -> dict[str, int]:
    return {photo.name: photo.quantity for photo in index.photos}


def test_a_folder_is_indexed_in_place(tmp_path):
    source = tmp_path / "bins"
    write_bin(source, "00001", {"B0": 3})
    write_bin(source, "00002", {"B0": 2})
    write_bin(source, "1", {"B0": 2, "B1": 2})
    before = sorted((path, path.stat().st_mtime_ns) for path in source.rglob("*"))
    index, report = ingested(source, tmp_path / "out")
    assert quantities(index) == {"00001.jpg": 3, "00002.jpg": 2, "1.jpg": 4}
    assert [photo.group for photo in index.photos] == ["00001", "00001", "1"]
    first = index.photos[0]
    assert (first.width, first.height, first.split, first.offset, len(first.boxes)) == (24, 16, "", None, 0)
    assert read_photo_bytes(index, first) == (source / "bin-images/00001.jpg").read_bytes()
    assert sorted((path, path.stat().st_mtime_ns) for path in source.rglob("*")) == before
    assert (report["photos_found"], report["photos_kept"], report["left_out"]) == (3, 3, {})
    assert report["quantities"] == {"2": 1, "3": 1, "4": 1}
    assert (report["mean_quantity"], report["groups"], report["grouped_photos"]) == (3, 2, 2)
    assert index.metadata["licence"] == report["licence"] == abid.LICENCE
    assert index.metadata["name"] == "bins"
    assert "3 of 3 bins kept" in (tmp_path / "out/report.html").read_text()


def test_a_licence_beside_the_photos_counts(tmp_path):
    source = write_bins(tmp_path / "bins", 2)
    (source / "licence.txt").write_text("ours, all of it\nmore\n")
    index, report = ingested(source, tmp_path / "out")
    assert (index.metadata["licence"], report["other_files"]) == ("ours, all of it", 0)
    index, _ = ingested(source, tmp_path / "out", licence="mine")
    assert index.metadata["licence"] == "mine"


def test_padded_and_plain_ids_stay_two_bins(tmp_path):
    write_bin(tmp_path / "bins", "01044", {"B0": 1})
    write_bin(tmp_path / "bins", "1044", {"B0": 5})
    index, _ = ingested(tmp_path / "bins", tmp_path / "out")
    assert quantities(index) == {"01044.jpg": 1, "1044.jpg": 5}
    assert {photo.group for photo in index.photos} == {"01044", "1044"}


def test_what_is_unusable_is_left_out_and_named(tmp_path):
    source = tmp_path / "bins"
    write_bin(source, "00001", {"B0": 3})
    write_bin(source, "00002", b"<html>not found</html>")
    write_bin(source, "00003", b"{}")
    write_bin(source, "00004", json.dumps({"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": None}).encode())
    write_bin(source, "00005", {"B5": 1}, photo=b"")
    write_bin(source, "00006", {"B6": 1}, photo=photo_bytes("6")[:-40])
    write_bin(source, "00007", {"B7": 1}, photo=b"<html>")
    write_bin(source, "00008", {"B8": 1})
    (source / "metadata/00008.json").unlink()
    (source / "notes.txt").write_text("x")
    index, report = ingested(source, tmp_path / "out")
    assert quantities(index) == {"00001.jpg": 3}
    assert {reason: list(names) for reason, names in report["left_out"].items()} == {
        "metadata_missing": ["00008"],
        "metadata_unreadable": ["00002"],
        "no_quantity": ["00003", "00004"],
        "photo_missing": ["00005"],
        "photo_unreadable": ["00006", "00007"],
    }
    assert report["photos_found"] == 8
    assert report["other_files"] == 1
    assert "HTML page saved as JSON" in report["left_out"]["metadata_unreadable"]["00002"]
    assert index.metadata["left_out"] == {reason: len(names) for reason, names in report["left_out"].items()}


def test_what_is_odd_is_kept_and_named(tmp_path):
    source = tmp_path / "bins"
    write_bin(source, "00001", json.dumps(metadata({"B0": 1}, expected=2)).encode())
    write_bin(source, "00002", {})
    empty_name = metadata({"B3": 1})
    empty_name["BIN_FCSKU_DATA"]["B3"]["name"] = None
    write_bin(source, "00003", json.dumps(empty_name).encode(), photo=photo_bytes("same"))
    write_bin(source, "00009", {"B9": 1}, photo=photo_bytes("same"))
    (source / "bin-images/00009.jpeg").write_bytes(photo_bytes("another"))
    index, report = ingested(source, tmp_path / "out")
    assert quantities(index) == {"00001.jpg": 2, "00002.jpg": 0, "00003.jpg": 1, "00009.jpeg": 1}
    assert {remark: list(names) for remark, names in report["remarks"].items()} == {
        "empty_bin": ["00002"],
        "quantity_not_sum": ["00001"],
        "null_fields": ["00003"],
        "repeated_id": ["00009"],
    }
    (source / "bin-images/00009.jpeg").unlink()
    index, report = ingested(source, tmp_path / "out")
    assert report["remarks"]["same_photo"] == {"00009": "as 00003"}
    assert [photo.group for photo in index.photos] == ["00001", "00002", "00003", "00003"]


def test_a_bin_without_photo_links_its_neighbours(tmp_path):
    write_bin(tmp_path / "bins", "00001", {"B0": 1})
    write_bin(tmp_path / "bins", "00002", {"B0": 1, "B1": 1}, photo=b"")
    write_bin(tmp_path / "bins", "00003", {"B1": 1})
    index, _ = ingested(tmp_path / "bins", tmp_path / "out")
    assert [photo.group for photo in index.photos] == ["00001", "00001"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "empty; expected the folders bin-images"),
        ({"00001.jpg": b"x"}, "none of its 1 files is a bin's; expected the folders bin-images"),
        ({"bin-images/00001.jpg": b"x"}, "no usable bin is left .there is no metadata file: 1"),
        ({"metadata/00001.json": b"<html>"}, "no usable bin is left .its metadata is not JSON"),
    ],
)
def test_a_source_without_bins_is_an_error(tmp_path, files, message):
    (tmp_path / "bins").mkdir()
    for name, data in files.items():
        (tmp_path / "bins" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bins" / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        ingested(tmp_path / "bins", tmp_path / "out")


def test_an_absent_source_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        ingested(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(DataError, match="there is no such folder"):
        ingest("ftp://host/bins", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"quota": 0}, "quota of count 0 is 0"),
        ({"quota": {-1: 3}}, "count of the quota is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"shard": "0/3"}, "shard is '0/3'; it must be K/N"),
        ({"shard": "4/3"}, "shard is '4/3'"),
        ({"shard": "half"}, "shard is 'half'"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(SettingsError, match=message):
        ingested(write_bins(tmp_path / "bins", 2), tmp_path / "out", **arguments)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://aft-vbi-pds.s3.amazonaws.com", ("https://s3.amazonaws.com", "aft-vbi-pds")),
        ("https://aft-vbi-pds.s3.amazonaws.com/", ("https://s3.amazonaws.com", "aft-vbi-pds")),
        ("https://a.b.s3.eu-west-1.amazonaws.com/x/y/", ("https://s3.eu-west-1.amazonaws.com", "a.b/x/y")),
        ("http://localhost:9000/bins/abid", ("http://localhost:9000", "bins/abid")),
    ],
)
def test_a_public_address_names_endpoint_and_bucket(address, expected):
    assert split_address(address) == expected


def test_a_public_address_without_a_bucket_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="needs a bucket"):
        ingest("https://example.com", tmp_path / "out")


def test_a_file_list_selects(tmp_path):
    source = write_bins(tmp_path / "bins", 12)
    path = tmp_path / "list.json"
    listed = {
        "2": ["data/metadata/00001.json", "data/metadata/00002.json"],
        "3": ["00002.json", "00077.json"],
    }
    path.write_text(json.dumps(listed))
    index, report = ingested(source, tmp_path / "out", file_list=path)
    assert quantities(index) == {"00001.jpg": 2, "00002.jpg": 3}
    assert report["left_out"] == {"metadata_missing": {"00077": "nor is its photo"}}
    assert report["remarks"]["repeated_id"] == {"00002": "listed under 2, and again under 3"}
    assert report["remarks"]["other_count_in_list"] == {"00002": "listed under 2, EXPECTED_QUANTITY is 3"}
    assert report["selection"] == "the file list list.json"
    ingest(str(source), tmp_path / "a", shard="1/2", file_list=path, progress=False)
    path.write_text('{"1": ["00003.json"]}')
    ingest(str(source), tmp_path / "b", shard="2/2", file_list=path, progress=False)
    with pytest.raises(DataError, match="its file_list is not that of"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")


@pytest.mark.parametrize("suffix", ["jpeg", "png", "JPG", "JPEG", "PNG", "Jpg"])
def test_a_file_list_takes_the_suffixes_that_listing_takes(tmp_path, suffix):
    source = write_bins(tmp_path / "bins", 3)
    (source / "bin-images/00002.jpg").rename(source / f"bin-images/00002.{suffix}")
    path = tmp_path / "list.json"
    path.write_text('{"2": ["00001.json", "00002.json", "00003.json"]}')
    listed, _ = ingested(source, tmp_path / "out")
    named, report = ingested(source, tmp_path / "named", file_list=path)
    assert (report["photos_kept"], report["left_out"]) == (3, {})
    assert [photo.name for photo in named.photos] == [photo.name for photo in listed.photos]
    assert named.photos[1].uri == f"bin-images/00002.{suffix}"


def test_a_file_list_asks_for_other_suffixes_only_where_there_is_no_jpg(tmp_path):
    asked = []

    class Recorder(FolderStore):
        def stat(self, key):
            asked.append(key)
            return super().stat(key)

    write_bins(tmp_path, 2)
    source = Source(Recorder(tmp_path), "bins", in_place=True)
    list_named(source, Shard(), FileList({"00001": 2, "00002": 3}, {}), 1)
    assert sorted(asked) == [
        f"{where}/0000{n}.{end}"
        for where, end in (("bin-images", "jpg"), ("metadata", "json"))
        for n in (1, 2)
    ]
    (tmp_path / "bin-images/00002.jpg").unlink()
    asked.clear()
    entries = list_named(source, Shard(), FileList({"00002": 3}, {}), 1).entries
    assert entries["00002"].photo is None
    assert [key.rpartition(".")[2] for key in asked] == ["json", *SUFFIXES]


def test_a_quota_takes_the_first_of_each_count(tmp_path):
    source = write_bins(tmp_path / "bins", 30)
    (source / "bin-images/00005.jpg").unlink()  # count 1, so the next two of this count are taken
    index, report = ingested(source, tmp_path / "out", quota={1: 2, 3: 1})
    assert quantities(index) == {"00002.jpg": 3, "00010.jpg": 1, "00015.jpg": 1}
    assert report["photos_found"] == 15
    assert report["beyond_selection"] == 11
    index, report = ingested(source, tmp_path / "out", quota=2)
    assert Counter(quantities(index).values()) == dict.fromkeys(range(1, 6), 2)
    index, _ = ingested(source, tmp_path / "out", limit=7)
    assert list(quantities(index)) == [f"{number:05d}.jpg" for number in (1, 2, 3, 4, 6, 7, 8)]


def test_tar_shards_hold_the_photos_as_they_are(tmp_path):
    source = write_bins(tmp_path / "bins", 6)
    write_bin(source, "00101", {"B0": 1}, photo=photo_bytes("large", (90, 70)))
    index, report = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"))
    assert index.store == str(tmp_path / "store/datasets/bins")
    assert report["shard_files"] == len({photo.uri for photo in index.photos}) == 2
    for photo in index.photos:
        assert read_photo_bytes(index, photo) == (source / "bin-images" / photo.name).read_bytes()
    with tarfile.open(Path(index.store) / index.photos[0].uri) as tar:
        assert tar.getnames() == [photo.name for photo in index.photos[:6]]
    copy = DatasetIndex.read(Path(index.store) / "index.parquet")
    assert copy.digest == index.digest
    assert not list((tmp_path / "out/parts").glob(".*"))


def test_another_selection_leaves_the_shards_of_an_index_in_use_alone(tmp_path):
    source = write_bins(tmp_path / "bins", 6)
    some, _ = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"), limit=3)
    every, _ = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"))
    assert some.photos[0].uri != every.photos[0].uri
    for index in (some, every):
        assert all(read_photo_bytes(index, photo) for photo in index.photos)


def test_a_second_run_reads_only_what_changed(tmp_path):
    source = write_bins(tmp_path / "bins", 120)
    first, report = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"))
    assert (report["read"], report["known"]) == (120, 0)
    again, report = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"))
    assert (report["read"], report["known"]) == (0, 120)
    assert again.digest == first.digest
    write_bin(source, "00110", {"B0": 9})
    changed, report = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"))
    assert (report["read"], report["known"]) == (21, 99)
    assert quantities(changed)["00110.jpg"] == 9
    (Path(changed.store) / changed.photos[0].uri).write_bytes(b"damaged")
    mended, report = ingested(source, tmp_path / "out", copy=True, store=str(tmp_path / "store"))
    assert (report["read"], mended.digest) == (99, changed.digest)
    assert all(read_photo_bytes(mended, photo) for photo in mended.photos)


def test_with_a_quota_a_change_is_seen_by_all_that_comes_after(tmp_path):
    source = write_bins(tmp_path / "bins", 250)
    ingested(source, tmp_path / "out", quota={1: 30, 2: 40})
    write_bin(source, "00005", {"B0": 2})
    index, report = ingested(source, tmp_path / "out", quota={1: 30, 2: 40})
    fresh, _ = ingested(source, tmp_path / "fresh", quota={1: 30, 2: 40})
    assert index.digest == fresh.digest
    assert report["known"] == 0
    again, report = ingested(source, tmp_path / "out", quota={1: 30, 2: 40})
    assert (again.digest, report["read"]) == (fresh.digest, 0)


def test_a_damaged_part_is_read_again(tmp_path):
    source = write_bins(tmp_path / "bins", 250)
    index, _ = ingested(source, tmp_path / "out")
    part = tmp_path / "out/parts/bins-001.json.gz"
    part.write_bytes(part.read_bytes()[:-9])
    again, report = ingested(source, tmp_path / "out")
    assert (report["read"], report["known"]) == (100, 150)
    assert again.digest == index.digest


SELECTIONS = [{}, {"quota": {1: 21, 5: 33}}, {"limit": 130}]


@pytest.mark.parametrize("selection", SELECTIONS, ids=["all", "quota", "limit"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_result_does_not_depend_on_the_number_of_shards(tmp_path, count, selection):
    source = write_bins(tmp_path / "bins", 230, first=90, run=7)
    write_bin(source, "00120", b"<html>")
    write_bin(source, "1000", {"A14": 4})
    whole, report = ingested(source, tmp_path / "whole", **selection)
    folders = [tmp_path / f"shard{number}" for number in range(count)]
    for number, folder in enumerate(folders, 1):
        ran = ingest(str(source), folder, shard=f"{number}/{count}", progress=False, **selection)
        assert ran == folder
        assert not (folder / "index.parquet").exists()
    path = merge(folders[::-1], tmp_path / "merged")
    merged = DatasetIndex.read(path)
    assert merged.digest == whole.digest
    assert [photo.name for photo in merged.photos] == [photo.name for photo in whole.photos]
    assert [photo.group for photo in merged.photos] == [photo.group for photo in whole.photos]
    for key in ("left_out", "quantities", "photos_found", "beyond_selection", "groups"):
        assert json.loads((tmp_path / "merged/report.json").read_text())[key] == report[key]
    across = [photo.group for photo in whole.photos if photo.name in ("00099.jpg", "00100.jpg")]
    assert across == ["00098", "00098"]


def test_shards_can_share_a_folder(tmp_path):
    source = write_bins(tmp_path / "bins", 230)
    whole, _ = ingested(source, tmp_path / "whole", copy=True, store=str(tmp_path / "store"))
    for number in (1, 2, 3):
        ingest(str(source), tmp_path / "out", shard=f"{number}/3", copy=True, store=str(tmp_path / "store"))
    merged = DatasetIndex.read(merge([tmp_path / "out"], tmp_path / "out"))
    assert [photo.uri for photo in merged.photos] == [photo.uri for photo in whole.photos]
    assert [photo.offset for photo in merged.photos] == [photo.offset for photo in whole.photos]
    ingest(str(source), tmp_path / "out", shard="1/2", progress=False)
    with pytest.raises(DataError, match="the shards 2/2 are missing or have not finished"):
        merge([tmp_path / "out"], tmp_path / "out")


def test_shards_of_different_runs_are_refused(tmp_path):
    source = write_bins(tmp_path / "bins", 130)
    ingest(str(source), tmp_path / "a", shard="1/2", progress=False)
    ingest(str(source), tmp_path / "b", shard="2/2", progress=False, limit=50)
    with pytest.raises(DataError, match="its selection, limit is not that of"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(DataError, match="the shards 2/2 are missing"):
        merge([tmp_path / "a"], tmp_path / "out")
    with pytest.raises(DataError, match="no finished shard"):
        merge([tmp_path / "nothing"], tmp_path / "out")
    (tmp_path / "a/parts/bins-000.json.gz").unlink()
    ingest(str(source), tmp_path / "b", shard="2/2", progress=False)
    with pytest.raises(DataError, match=r"bins-000.* missing or damaged"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")

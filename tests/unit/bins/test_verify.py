import shutil
from pathlib import Path

import pytest

from stocktake.bins.abid import ingest
from stocktake.bins.verify import verify
from stocktake.cli import main
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError, SettingsError
from tests.plain_bins import write_bins


@pytest.fixture
def store(tmp_path) -> Path:
    source = write_bins(tmp_path / "bins", 120)
    ingest(str(source), tmp_path / "out", store=str(tmp_path / "store"), copy=True, progress=False)
    return tmp_path / "store"


def shards(store: Path) -> list[Path]:
    return sorted(store.glob("datasets/bins/*.tar"))


def test_a_whole_store_is_whole(store):
    report = verify(str(store), progress=False)
    assert (report.expected, report.present, report.is_whole) == (120, 120, True)
    assert report.indexes == [str(store / "datasets/bins/index.parquet")]
    assert report.summary() == "120 expected, 120 present, 0 missing, 0 with a wrong digest"
    assert verify(str(store / "datasets/bins"), progress=False).present == 120


def test_a_store_can_be_verified_where_it_was_moved(store, tmp_path):
    shutil.move(store, tmp_path / "moved")
    assert verify(str(tmp_path / "moved"), progress=False).present == 120


def test_missing_and_changed_photos_are_named(store):
    first, second = shards(store)
    first.unlink()
    index = DatasetIndex.read(store / "datasets/bins/index.parquet")
    photo = next(photo for photo in index.photos if photo.uri == second.name)
    data = bytearray(second.read_bytes())
    data[(photo.offset or 0) + 30] ^= 1
    second.write_bytes(data)
    report = verify(str(store), progress=False)
    assert (report.expected, report.present, report.is_whole) == (120, 20, False)
    assert report.missing == [(str(first), f"{number:05d}.jpg") for number in range(1, 100)]
    assert report.wrong == [(str(second), photo.name)]


def test_a_shard_that_is_cut_short_has_wrong_photos(store):
    last = shards(store)[1]
    last.write_bytes(last.read_bytes()[:2000])
    report = verify(str(store), progress=False)
    assert len(report.wrong) == 20
    assert not report.is_whole


def test_photos_in_place_are_verified_by_their_index(tmp_path):
    source = write_bins(tmp_path / "bins", 10)
    index = ingest(str(source), tmp_path / "out", progress=False)
    assert verify(str(index), progress=False).present == 10
    (source / "bin-images/00003.jpg").unlink()
    (source / "bin-images/00004.jpg").write_bytes(b"other")
    with (source / "bin-images/00005.jpg").open("ab") as file:
        file.write(b"more")
    report = verify(str(index), progress=False)
    folder = source / "bin-images"
    assert report.missing == [(str(folder / "00003.jpg"), "00003.jpg")]
    assert sorted(report.wrong) == [(str(folder / name), name) for name in ("00004.jpg", "00005.jpg")]


@pytest.mark.parametrize("copy", [False, True])
def test_the_folder_of_an_ingest_is_verified_where_its_photos_are(tmp_path, copy, capsys):
    source = write_bins(tmp_path / "bins", 60)
    place = tmp_path / "store" if copy else source
    ingest(str(source), tmp_path / "out", store=str(tmp_path / "store"), copy=copy, progress=False)
    assert main(["bins", "verify", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'out/index.parquet'}, with photos in {place}" in said
    assert "60 expected, 60 present, 0 missing" in said
    lost = next(place.rglob("*.tar" if copy else "00007.jpg"))
    lost.unlink()
    assert main(["bins", "verify", str(tmp_path / "out")]) == 1
    assert f"missing: 00007.jpg in {lost}" in capsys.readouterr().out


def test_a_moved_store_that_has_lost_photos_is_not_taken_for_the_first_one(store, tmp_path):
    moved = shutil.copytree(store, tmp_path / "moved")
    shards(moved)[0].unlink()
    assert len(verify(str(moved), progress=False).missing) == 99


def test_photos_of_one_name_in_two_data_sets_are_two(tmp_path):
    store = tmp_path / "store"
    for name in ("one", "two"):
        source = write_bins(tmp_path / name, 10)
        ingest(str(source), tmp_path / "out", store=str(store), copy=True, name=name, progress=False)
    for shard in store.rglob("*.tar"):
        shard.unlink()
    report = verify(str(store), progress=False)
    assert (report.expected, report.present, len(report.missing), len(report.wrong)) == (20, 0, 20, 0)


@pytest.mark.parametrize("workers", [-1, 0])
def test_an_impossible_number_of_threads(tmp_path, workers):
    with pytest.raises(SettingsError, match=rf"workers is {workers}; it must be a whole number in 1"):
        verify(str(tmp_path), workers)


def test_a_store_without_an_index_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no index\.parquet in it"):
        verify(str(tmp_path), progress=False)
    with pytest.raises(DataError, match="there is no such index"):
        verify(str(tmp_path / "index.parquet"), progress=False)

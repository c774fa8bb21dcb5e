from pathlib import Path

import pytest

from stocktake.bins.data_commands import read_quota
from stocktake.cli import main
from stocktake.dataset import DatasetIndex
from tests.plain_bins import write_bins


def test_from_a_folder_to_a_prepared_index(tmp_path, capsys):
    source, store = write_bins(tmp_path / "bins", 150), str(tmp_path / "store")
    ingest = ["bins", "ingest", str(source), "--copy", "--store", store]
    assert main([*ingest, "--out", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out/report.html") in capsys.readouterr().out
    assert main(["bins", "verify", store]) == 0
    assert "150 expected, 150 present, 0 missing, 0 with a wrong digest" in capsys.readouterr().out
    prepare = ["bins", "prepare", str(tmp_path / "out/index.parquet"), "--out", str(tmp_path / "prepared")]
    assert main([*prepare, "--classes", "2", "1", "--seed", "7"]) == 0
    metadata = DatasetIndex.read(tmp_path / "prepared/index.parquet").metadata
    assert (metadata["classes"], metadata["seed"]) == ([1, 2], 7)
    assert main(prepare) == 0
    assert DatasetIndex.read(tmp_path / "prepared/index.parquet").metadata["classes"] == [1, 2, 3, 4, 5]


def test_shards_are_merged(tmp_path, capsys):
    source = write_bins(tmp_path / "bins", 150)
    folders = [str(tmp_path / f"shard{number}") for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        assert main(["bins", "ingest", str(source), "--out", folder, "--shard", f"{number}/2"]) == 0
        assert f"shard {number}/2 is read" in capsys.readouterr().out
    assert main(["bins", "merge", *folders, "--out", str(tmp_path / "out")]) == 0
    assert len(DatasetIndex.read(tmp_path / "out/index.parquet").photos) == 150


def test_a_store_that_is_not_whole_is_a_failure(tmp_path, capsys):
    source, store = write_bins(tmp_path / "bins", 3), tmp_path / "store"
    main(["bins", "ingest", str(source), "--copy", "--store", str(store), "--out", str(tmp_path / "out")])
    next(store.rglob("*.tar")).unlink()
    assert main(["bins", "verify", str(store)]) == 1
    printed = capsys.readouterr()
    assert "3 expected, 0 present, 3 missing, 0 with a wrong digest" in printed.out
    assert "missing: 00001.jpg in " in printed.out
    assert "is not whole; run its ingest again" in printed.err


def test_a_file_list_quota_and_limit_are_passed_on(tmp_path):
    source = write_bins(tmp_path / "bins", 40)
    path = tmp_path / "list.json"
    path.write_text('{"1": ["00005.json", "00010.json", "00015.json"], "2": ["00001.json"]}')
    ingest = ["bins", "ingest", str(source), "--out", str(tmp_path / "out"), "--workers", "2"]

    def names(*arguments: str) -> list[str]:
        assert main([*ingest, *arguments]) == 0
        index = DatasetIndex.read(tmp_path / "out/index.parquet")
        assert index.metadata["name"] == "test"
        assert index.metadata["licence"] == "ours"
        return [Path(photo.name).stem for photo in index.photos]

    about = ("--name", "test", "--licence", "ours")
    assert names(*about, "--file-list", str(path)) == ["00001", "00005", "00010", "00015"]
    assert names(*about, "--quota", "1=2,4=1") == ["00003", "00005", "00010"]
    assert names(*about, "--quota", "1") == ["00001", "00002", "00003", "00004", "00005"]
    assert names(*about, "--limit", "2") == ["00001", "00002"]


def test_a_page_in_place_of_a_file_list_is_one_line(tmp_path, capsys):
    path = tmp_path / "file_list.json"
    path.write_text("<!DOCTYPE html>")
    arguments = ["bins", "ingest", str(write_bins(tmp_path / "bins", 2)), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--file-list", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"stocktake: {path}: an HTML page saved as JSON; download the file itself")
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["many", "1=", "1=2=3", "1=2;3=4", "1-=x", "5-1=10", "1=2,4-3=9", ""])
def test_a_malformed_quota_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        main(["bins", "ingest", "x", "--out", "y", "--quota", text])
    assert "is neither a number nor like 1-5=500" in capsys.readouterr().err


def test_a_quota_is_a_number_or_one_per_count():
    assert read_quota("500") == 500
    assert read_quota("1=500,2=300") == {1: 500, 2: 300}
    assert read_quota("0=9,2-4=300") == {0: 9, 2: 300, 3: 300, 4: 300}

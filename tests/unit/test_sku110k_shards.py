"""Shelf photos ingested by several workers: what comes out is what one of them makes alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from stocktake.cli import main
from stocktake.errors import DataError
from stocktake.shelf.sku110k import ingest
from stocktake.shelf.sku110k_merge import merge
from tests.sku110k_set import add_row, encode, make_archive, row, take, taken


@pytest.fixture
def odd_shelves(shelves) -> Path:
    """With a photo that cannot be read, one without rows, rows without a photo, voids, and a stray file."""
    (shelves / "images/train_1.jpg").write_bytes(encode()[:-20])
    (shelves / "images/extra.jpg").write_bytes(encode(50))
    (shelves / "notes.txt").write_text("mine")
    add_row(shelves, row("gone.jpg") * 3)
    add_row(shelves, row("test_0.jpg"), "train")
    voids = "image_name,x1,y1,x2,y2,tier,facings,kind\ntrain_2.jpg,1,2,3,4,2,3,edge\n"
    (shelves / "annotations/voids_train.csv").write_text(voids)
    return shelves


def read_shards(source: Path, tmp_path: Path, count: int, **options) -> list[Path]:
    folders = [tmp_path / f"shard{number}" for number in range(count)]
    for number, folder in enumerate(folders, 1):
        ran = ingest(str(source), folder, shard=f"{number}/{count}", progress=False, **options)
        assert ran == folder
        assert not (folder / "index.parquet").exists()
    return folders


@pytest.mark.parametrize("selection", [{}, {"limit": 2}], ids=["all", "limit"])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_result_does_not_depend_on_the_number_of_shards(odd_shelves, tmp_path, count, selection):
    report, whole = take(odd_shelves, tmp_path, **selection)
    folders = read_shards(odd_shelves, tmp_path, count, **selection)
    made, merged = taken(merge(folders[::-1], tmp_path / "merged"))
    assert merged.digest == whole.digest
    assert [photo.uri for photo in merged.photos] == [photo.uri for photo in whole.photos]
    assert (merged.store, merged.metadata) == (whole.store, whole.metadata)
    assert (made.examined, made.other_files) == (report.examined, 1)
    assert replace(made, seconds=0, missing=sorted(made.missing)) == replace(report, seconds=0)


def test_each_worker_examines_and_stores_its_own_photos(odd_shelves, tmp_path):
    archive = make_archive(odd_shelves, tmp_path / "set.tar.gz", photos_first=True)
    _, whole = take(archive, tmp_path, store=str(tmp_path / "whole"))
    store = tmp_path / "store"
    folders = read_shards(archive, tmp_path, 3, store=str(store))
    journals = [len(next(folder.glob("*.jsonl")).read_text().splitlines()) - 1 for folder in folders]
    assert sum(journals) == 12
    assert max(journals) < 12
    _, merged = taken(merge(folders, tmp_path / "merged"))
    assert merged.digest == whole.digest
    assert [photo.uri for photo in merged.photos] == [photo.uri for photo in whole.photos]
    assert len(list((store / "datasets/set/images").iterdir())) == 11


def test_shards_can_share_a_folder_and_know_what_they_have_read(odd_shelves, tmp_path):
    _, whole = take(odd_shelves, tmp_path)
    for _ in range(2):
        for number in (1, 2, 3):
            ingest(str(odd_shelves), tmp_path / "shared", shard=f"{number}/3", progress=False)
        report, merged = taken(merge([tmp_path / "shared"], tmp_path / "shared"))
        assert merged.digest == whole.digest
    assert (report.examined, report.known) == (0, 12)
    ingest(str(odd_shelves), tmp_path / "shared", shard="1/2", progress=False)
    with pytest.raises(DataError, match="the shards 2/2 are missing or have not finished"):
        merge([tmp_path / "shared"], tmp_path / "shared")


def test_shards_that_do_not_fit_together(shelves, tmp_path):
    first, second = read_shards(shelves, tmp_path, 2)
    with pytest.raises(DataError, match=r"shard 1/2 is in .* and .*; leave one"):
        merge([first, second, first], tmp_path / "out")
    ingest(str(shelves), tmp_path / "other", shard="2/2", exclude="strict", progress=False)
    with pytest.raises(DataError, match="its exclude is not that of"):
        merge([first, tmp_path / "other"], tmp_path / "out")
    add_row(shelves, row("train_0.jpg"))  # the source has changed between two workers
    ingest(str(shelves), tmp_path / "other", shard="2/2", progress=False)
    with pytest.raises(DataError, match="its annotations is not that of"):
        merge([first, tmp_path / "other"], tmp_path / "out")
    with pytest.raises(DataError, match="no finished shard"):
        merge([tmp_path / "nothing"], tmp_path / "out")


def test_a_damaged_copy_of_an_annotation_file(shelves, tmp_path):
    folders = read_shards(shelves, tmp_path, 2)
    copy = folders[0] / "parts/annotations_train.csv.gz"
    copy.write_bytes(copy.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"annotations_train\.csv\.gz: missing or damaged; run shard 1/2"):
        merge(folders, tmp_path / "out")


def test_the_verbs(shelves, tmp_path, capsys):
    _, whole = take(shelves, tmp_path)
    folders = [str(tmp_path / f"shard{number}") for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        assert main(["shelf", "ingest", str(shelves), "--out", folder, "--shard", f"{number}/2"]) == 0
    assert "shard 2/2 is read; merge it with the others" in capsys.readouterr().out
    assert main(["shelf", "merge", *folders, "--out", str(tmp_path / "merged")]) == 0
    assert str(tmp_path / "merged/index.parquet") in capsys.readouterr().out
    assert taken(tmp_path / "merged/index.parquet")[1].digest == whole.digest
    assert main(["shelf", "ingest", str(shelves), "--out", folders[0], "--shard", "3/2"]) == 1
    assert "shard is '3/2'; it must be K/N" in capsys.readouterr().err

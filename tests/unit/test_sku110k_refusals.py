"""Sources that nothing can be made of: one clear error each."""

import subprocess

import pytest

from stocktake.errors import DataError, SettingsError, StoreError
from tests.sku110k_set import add_row, make_set, take


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    for name in ("a", "b"):
        make_set(tmp_path / "both" / name)
    with pytest.raises(
        DataError, match=r"a/annotations/annotations_test\.csv and b/annotations/annotations_test\.csv: "
    ):
        take(tmp_path / "both", tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("rm -r .", "there is no such folder or archive"),
        ("rm -r images annotations", "empty; expected the folders images and annotations"),
        ("rm -r annotations", "no annotation rows were found"),
        ("rm images/*", "no usable photo is left.*annotated but not in the source: 11"),
        ("for f in images/*; do echo x > $f; done", "no usable photo is left.*decoded to its last byte: 11"),
        (
            "echo a,b >> annotations/annotations_val.csv",
            r"annotations_val\.csv:5: 8 columns were expected.*found 2: a,b",
        ),
    ],
)
def test_a_hopeless_source_is_one_clear_error(shelves, tmp_path, spoil, message):
    if spoil == "rm -r .":
        shelves = tmp_path / "nothing"
    else:
        subprocess.run(["bash", "-c", spoil], cwd=shelves, check=True)
    with pytest.raises(DataError, match=message):
        take(shelves, tmp_path)
    assert not (tmp_path / "out/index.parquet").exists()


def test_missing_annotations_are_told_before_photos_are_read(shelves, tmp_path):
    for file in (shelves / "annotations").iterdir():
        file.unlink()
    with pytest.raises(
        DataError, match=r"no annotation rows were found; expected some of annotations_train\.csv"
    ):
        take(shelves, tmp_path)
    assert len((tmp_path / "out/ingest.journal.jsonl").read_text().splitlines()) == 1


def test_a_bad_row_ends_it_before_photos_are_read(shelves, tmp_path):
    add_row(shelves, "train_0.jpg,1,2,x,4,object,9,9\n")
    with pytest.raises(DataError, match=r"annotations_train\.csv:13: column x2 must be a number, found 'x'"):
        take(shelves, tmp_path)
    assert len((tmp_path / "out/ingest.journal.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("options", [{"workers": 0}, {"limit": 0}, {"exclude": "some"}])
def test_an_impossible_argument_is_named(shelves, tmp_path, options):
    with pytest.raises(SettingsError, match=next(iter(options))):
        take(shelves, tmp_path, **options)


def test_an_output_that_cannot_be_written_is_one_clear_error(shelves, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="out"):
        take(shelves, tmp_path)

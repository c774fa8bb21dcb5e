"""The end of the demo: a champion is served and verifies records."""

import json

import pytest

from pipelines.demo_bins import verify_some
from stocktake.dataset import DatasetIndex
from stocktake.images import decode_photo
from tests.tiny_counter import write_bins, write_model_dir


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_model_dir(folder / "model", verification={"accept_above": 0.7, "reject_below": 0.2})
    index = write_bins(folder / "bins", {"test": [(3, 5), (2, 2), (4.5, 5)]})
    return folder, verify_some(folder, DatasetIndex.read(index), "test")


def test_each_record_gets_a_verdict(verified):
    rows = json.loads((verified[0] / "counts.json").read_text())
    assert [(row["expected_quantity"], row["verdict"]) for row in rows[:2]] == [(5, "reject"), (2, "accept")]
    assert [row["count"] for row in rows[:2]] == [3, 2]
    assert all(sum(row["probabilities"]) == pytest.approx(1, abs=1e-3) for row in rows)
    assert rows[0]["match_probability"] < 0.05 < 0.9 < rows[1]["match_probability"]


def test_one_of_them_is_painted_and_told(verified):
    folder, told = verified
    first = json.loads((folder / "counts.json").read_text())[0]
    assert told.startswith(f"{first['photo']}: recorded 5, counted 3, match probability 0.0")
    assert told.endswith("verdict reject")
    picture = decode_photo((folder / "annotated.jpg").read_bytes())
    assert picture.shape == (640 + 7 * 30, 640, 3)

import json

import pytest

from stocktake.bins.abid_metadata import NoQuantityError, as_count, parse_metadata
from stocktake.bins.abid_selection import Selection, read_file_list
from stocktake.errors import DataError
from tests.plain_bins import metadata


def encode(content: object) -> bytes:
    return json.dumps(content).encode()


def test_quantity_and_articles_are_read():
    found = parse_metadata(encode(metadata({"B0": 2, "B1": 1})))
    assert (found.quantity, found.skus, found.remarks) == (3, ("B0", "B1"), {})


def test_key_and_asin_both_name_an_article():
    content = metadata({"B0": 2})
    content["BIN_FCSKU_DATA"]["ZZX"] = {**content["BIN_FCSKU_DATA"].pop("B0")}
    assert parse_metadata(encode(content)).skus == ("B0", "ZZX")


def test_an_empty_bin_is_a_bin():
    found = parse_metadata(encode({"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0}))
    assert (found.quantity, found.skus, list(found.remarks)) == (0, (), ["empty_bin"])


def test_a_quantity_that_is_not_the_sum_is_taken_and_told():
    found = parse_metadata(encode(metadata({"B0": 2, "B1": 1}, expected=4)))
    assert found.quantity == 4
    expected = "EXPECTED_QUANTITY is 4, the items' quantities sum to 3"
    assert found.remarks == {"quantity_not_sum": expected}


@pytest.mark.parametrize("null", [None, {"unit": "IN", "value": None}])
def test_null_fields_are_named(null):
    content = metadata({"B0": 1, "B1": 1})
    content["BIN_FCSKU_DATA"]["B0"]["weight"] = null
    del content["BIN_FCSKU_DATA"]["B1"]["name"]
    assert parse_metadata(encode(content)).remarks == {"null_fields": "name, weight"}


def test_null_items_are_no_empty_bin():
    found = parse_metadata(encode({"BIN_FCSKU_DATA": None, "EXPECTED_QUANTITY": 2}))
    assert set(found.remarks) == {"null_fields", "quantity_not_sum"}
    assert found.remarks["null_fields"] == "BIN_FCSKU_DATA"
    found = parse_metadata(encode({"BIN_FCSKU_DATA": {"B0": None}, "EXPECTED_QUANTITY": 0}))
    assert found.skus == ("B0",)


@pytest.mark.parametrize("value", [None, "3", True, -1, 2.5, float("nan"), float("inf"), [3], 2**31])
def test_no_count_is_no_quantity(value):
    with pytest.raises(NoQuantityError, match="EXPECTED_QUANTITY"):
        parse_metadata(encode({"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": value}))


def test_an_object_without_fields_has_no_quantity():
    with pytest.raises(NoQuantityError, match="EXPECTED_QUANTITY is null"):
        parse_metadata(b"{}")


def test_whole_numbers_are_counts_however_they_are_written():
    assert [as_count(value) for value in (0, 3, 3.0, 2**31 - 1)] == [0, 3, 3, 2**31 - 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html><html>", "an HTML page saved as JSON"),
        (b"\xef\xbb\xbf\n <html>", "an HTML page saved as JSON"),
        (b"", "an empty file"),
        (b"[1]", "a JSON list, expected an object"),
        (b'{"EXPECTED', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"BIN_FCSKU_DATA": [], "EXPECTED_QUANTITY": 1}', "BIN_FCSKU_DATA is a list"),
    ],
)
def test_another_file_is_told_apart(data, message):
    with pytest.raises(DataError, match=message):
        parse_metadata(data)


def test_a_file_list_gives_ids_and_their_counts(tmp_path):
    path = tmp_path / "file_list.json"
    path.write_text(json.dumps({"1": ["data/metadata/100313.json"], "2": ["x/01044.json", "1044.json"]}))
    found = read_file_list(path)
    assert found.counts == {"100313": 1, "01044": 2, "1044": 2}
    assert found.repeated == {}


def test_a_file_list_that_names_a_bin_twice_says_so(tmp_path):
    path = tmp_path / "file_list.json"
    path.write_text(
        json.dumps({"1": ["metadata/7.json", "metadata/7.json"], "2": ["metadata/8.json"], "3": ["8.json"]})
    )
    found = read_file_list(path)
    assert found.counts == {"7": 1, "8": 2}
    assert found.repeated == {
        "7": "listed under 1, and again under 1",
        "8": "listed under 2, and again under 3",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "file_list.json: an HTML page saved as JSON"),
        ("[]", "a JSON list, expected an object"),
        ("{}", "names no bin"),
        ('{"1": []}', "names no bin"),
        ('{"one": ["1.json"]}', "'one' is no count"),
        ('{"1": "1.json"}', "'1' is no list of paths"),
        ('{"1": [3]}', "'1' is no list of paths"),
    ],
)
def test_a_malformed_file_list_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "file_list.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_file_list(path)


def test_a_selection_is_full_at_its_quota_or_limit():
    assert not Selection().is_full
    assert Selection().wants(209)
    quota = Selection({1: 2, 3: 1})
    assert [quota.wants(count) for count in (1, 2, 3)] == [True, False, True]
    quota.take(1)
    assert quota.wants(1)
    quota.take(1)
    assert not quota.wants(1)
    assert not quota.is_full
    quota.take(3)
    assert quota.is_full
    limited = Selection(limit=2)
    limited.take(5)
    assert limited.wants(5)
    assert not limited.is_full
    limited.take(4)
    assert not limited.wants(4)
    assert limited.is_full
    both = Selection({1: 5}, limit=1)
    both.take(1)
    assert both.is_full

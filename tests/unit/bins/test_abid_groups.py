import pytest

from stocktake.bins.abid_groups import group_bins
from stocktake.bins.abid_ids import after, bucket_of, bucket_order, id_of, order
from stocktake.ingest_shards import shard_of


def test_ids_are_strings():
    assert id_of("data/metadata/00012.json") == "00012"
    assert sorted(["1044", "01044", "2", "bin", "10", "00002"], key=order) == [
        "00002", "01044", "2", "10", "1044", "bin",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bin_id", "step", "expected"),
    [
        ("00009", 1, "00010"),
        ("9", 1, "10"),
        ("09999", 1, "10000"),
        ("9999", 1, "10000"),
        ("1044", 2, "1046"),
        ("bin_7", 1, None),
        ("٣", 1, None),
        ("", 1, None),
    ],
)
def test_the_next_id_stays_in_its_series(bin_id, step, expected):
    assert after(bin_id, step) == expected


def test_buckets_keep_series_apart():
    assert [bucket_of(bin_id) for bin_id in ("01044", "1044", "00044", "44", "bin_07")] == [
        "010", "10", "000", "", "bin_",
    ]  # fmt: skip
    assert sorted(["10", "", "bin_", "000", "9"], key=bucket_order) == ["000", "", "9", "10", "bin_"]


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_each_bucket_has_one_shard(shards):
    found = [shard_of(str(bucket), shards) for bucket in range(70)] + [
        shard_of("", shards),
        shard_of("a", shards),
    ]
    assert set(found) == set(range(shards))
    assert max(map(found.count, set(found))) <= 70 // shards + 3


def groups(*bins: tuple[str, str], digests: dict[str, str] | None = None) -> dict[str, str]:
    return group_bins({bin_id: list(articles) for bin_id, articles in bins}, digests or {})


def test_a_run_of_ids_that_share_an_article_is_a_group():
    found = groups(("00001", "ab"), ("00002", "bc"), ("00003", "cd"), ("00004", "xy"), ("00005", "y"))
    assert found == {"00001": "00001", "00002": "00001", "00003": "00001", "00004": "00004", "00005": "00004"}


def test_the_order_of_bins_does_not_matter():
    bins = [(f"{number:05d}", "a") for number in range(1, 60)]
    assert set(groups(*bins).values()) == {"00001"}
    assert groups(*bins) == groups(*bins[::-1]) == groups(*bins[1::2], *bins[::2])


def test_one_absent_id_is_bridged_and_two_are_not():
    assert groups(("10", "a"), ("12", "a"))["12"] == "10"
    assert groups(("10", "a"), ("13", "a"))["13"] == "13"


def test_bins_that_share_no_article_stay_apart():
    assert groups(("10", "a"), ("11", "b"), ("12", "")) == {"10": "10", "11": "11", "12": "12"}
    assert groups(("10", ""), ("11", "")) == {"10": "10", "11": "11"}


def test_padded_and_plain_ids_are_other_series():
    assert groups(("01044", "a"), ("1045", "a"), ("1044", "a")) == {
        "01044": "01044", "1044": "1044", "1045": "1044",
    }  # fmt: skip
    assert groups(("09999", "a"), ("10000", "a"))["10000"] == "09999"
    assert groups(("9999", "a"), ("10000", "a"))["10000"] == "9999"


def test_photos_with_equal_bytes_are_a_group():
    found = groups(
        ("5", "a"), ("900", "b"), ("901", "b"), ("x", ""), digests={"5": "s", "900": "s", "x": "t"}
    )
    assert found == {"5": "5", "900": "5", "901": "5", "x": "x"}

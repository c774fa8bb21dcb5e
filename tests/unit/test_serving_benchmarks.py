"""The pure parts of the benchmarks of serving, against what theory says."""

import asyncio

import numpy as np
import pytest

from benchmarks.serving.bad_requests import huge_png
from benchmarks.serving.load import closed_loop, open_loop, poisson_arrivals
from benchmarks.serving.memory import slope
from benchmarks.serving.offline import difference
from benchmarks.serving.queueing import simulate
from benchmarks.serving.ratios import ratios
from benchmarks.serving.samples import Samples, merge, percentile
from benchmarks.serving.wire import padded_photo
from stocktake.errors import PhotoTooLarge
from stocktake.images import decode_photo

MEAN = 0.01  # s of a request
COUNT = 200_000


def arrivals(rate, count=COUNT, seed=1):
    return np.random.default_rng(seed).exponential(1 / rate, count).cumsum()


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_lane_with_constant_service_waits_as_pollaczek_and_khinchine_say(load):
    latencies = simulate(arrivals(load / MEAN), np.array([MEAN]), lanes=1)
    assert latencies.mean() == pytest.approx(MEAN + load * MEAN / (2 * (1 - load)), rel=0.03)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_lane_with_exponential_service_has_an_exponential_latency(load):
    service = np.random.default_rng(2).exponential(MEAN, 50_000)
    latencies = simulate(arrivals(load / MEAN), service, lanes=1)
    rate = (1 - load) / MEAN
    assert latencies.mean() == pytest.approx(1 / rate, rel=0.05)
    assert percentile(latencies, 99) == pytest.approx(np.log(100) / rate, rel=0.08)


def test_two_lanes_with_exponential_service_wait_as_erlang_says():
    load = 0.8
    service = np.random.default_rng(3).exponential(MEAN, 50_000)
    latencies = simulate(arrivals(2 * load / MEAN), service, lanes=2)
    waits = 2 * load**2 / (1 + load)  # Erlang's C for two servers
    assert latencies.mean() == pytest.approx(MEAN + waits * MEAN / (2 * (1 - load)), rel=0.05)


def test_who_waits_alone_runs_alone_and_makes_the_next_wait():
    lane, alone = np.array([1.0]), np.array([0.6])
    latencies = simulate(np.array([0.0, 0.1, 0.2, 5.0, 5.1]), lane, lanes=2, alone_s=alone)
    # alone until .6; then both lanes until 1.6; then alone again, and again
    assert latencies == pytest.approx([0.6, 1.5, 1.4, 0.6, 1.1])


def test_poisson_arrivals_are_as_many_and_as_irregular_as_they_should_be():
    times = poisson_arrivals(50, 400, seed=0)
    assert len(times) == pytest.approx(20_000, abs=4 * 20_000**0.5)
    assert np.all(np.diff(times) > 0)
    assert times[-1] < 400
    assert np.diff(times).std() == pytest.approx(1 / 50, rel=0.05)
    assert np.array_equal(times, poisson_arrivals(50, 400, seed=0))
    assert not np.array_equal(times[:100], poisson_arrivals(50, 400, seed=1)[:100])


def test_percentiles_are_measured_values():
    assert percentile(np.arange(1, 101) / 1.0, 99) == 99
    assert percentile(np.arange(1, 101) / 1.0, 50) == 50
    assert percentile(np.array([3.0]), 99) == 3
    assert np.isnan(percentile(np.zeros(0), 50))


def test_latency_counts_from_the_intended_start_and_of_good_answers_only():
    samples = Samples(seconds=2)
    samples.add(0.0, 0.5, 1.0, "200")
    samples.add(1.0, 1.0, 1.1, "429")
    samples.add(1.0, 1.0, 1.5, "OK")
    assert samples.latencies() == pytest.approx([1.0, 0.5])
    assert samples.latencies(["429"]) == pytest.approx([0.1])
    summary = samples.summary()
    assert summary["codes"] == {"200": 1, "429": 1, "OK": 1}
    assert summary["rps"] == 1
    assert summary["p50"] == pytest.approx(500)
    assert merge([samples, samples]).summary()["rps"] == 1


class OneAtATime:
    """A server in the same loop that answers in turn; a request takes until `release` lets it go."""

    def __init__(self):
        self.asked, self.most, self.under_way = [], 0, 0

    async def ask(self, message):
        from benchmarks.serving.http_client import Answer

        self.asked.append(message)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return Answer("200")


def test_a_closed_loop_keeps_so_many_under_way_and_stops_at_its_count():
    client = OneAtATime()
    samples = asyncio.run(closed_loop(client, [b"a", b"b"], concurrency=3, seconds=60, requests=10))
    assert client.asked == [b"a", b"b"] * 5
    assert client.most == 3
    assert len(samples.codes) == 10


def test_an_open_loop_sends_every_request_whatever_became_of_the_others():
    client = OneAtATime()
    intended = np.array([0.0, 0.001, 0.001, 0.002])
    samples = asyncio.run(open_loop(client, [b"a"], intended))
    assert sorted(samples.intended) == intended.tolist()
    assert all(sent >= due for sent, due in zip(samples.sent, samples.intended, strict=True))


def test_a_process_that_grows_is_told_from_one_that_wavers():
    rng = np.random.default_rng(0)
    seconds = np.arange(900.0)
    wavering = 400e6 + 2e6 * np.sin(seconds / 40) + rng.normal(0, 1e6, 900)
    steady, growing = slope(seconds, wavering), slope(seconds, wavering + 20_000 * seconds)
    assert not steady.grows
    assert growing.grows
    assert abs(steady.value) < 3 * steady.error
    assert growing.value == pytest.approx(20_000, abs=3 * growing.error)


def test_a_growth_that_is_certain_but_small_is_not_called_a_leak():
    seconds = np.arange(900.0)
    certain = slope(seconds, 400e6 + 100 * seconds)
    assert certain.value == pytest.approx(100)
    assert not certain.grows


SHELF = {
    "boxes": [[10, 20, 30, 40], [50, 60, 70, 80]],
    "scores": [0.9, 0.901],
    "voids": [[30, 20, 50, 40]],
    "void_scores": [0.7],
}


def served(**changes):
    return {name: np.array(value, np.float32) for name, value in (SHELF | changes).items()}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"boxes": [[50.9, 60, 70, 80], [10, 20, 30, 40]], "scores": [0.895, 0.909]}, ""),  # another order
        ({"boxes": [[10, 20, 30, 40], [50, 60, 72, 80]]}, "2 boxes without counterpart"),
        ({"boxes": [[10, 20, 30, 40]] * 2}, "1 boxes without counterpart"),
        ({"scores": [0.9, 0.93]}, "2 boxes without counterpart"),
        ({"boxes": [[10, 20, 30, 40]], "scores": [0.9]}, "1 boxes instead of 2"),
        ({"voids": np.zeros((0, 4)), "void_scores": []}, "0 voids instead of 1"),
        ({"void_scores": [0.6]}, "2 voids without counterpart"),
    ],
)
def test_served_boxes_must_each_have_their_counterpart(changes, found):
    assert difference(served(**changes), [SHELF]) == found


def test_an_answer_may_be_that_of_either_layout():
    other = SHELF | {"void_scores": [0.6]}
    assert difference(served(void_scores=[0.6]), [SHELF, other]) == ""


def test_probabilities_may_be_off_by_a_hundredth():
    known = [{"count": 2, "probabilities": [0.1, 0.9]}]
    assert difference({"count": [2], "probabilities": [[0.109, 0.891]]}, known) == ""
    assert "0.020 off" in difference({"count": [2], "probabilities": [[0.12, 0.88]]}, known)


def test_the_huge_photo_is_refused_for_its_size_and_the_padded_one_is_a_photo():
    with pytest.raises(PhotoTooLarge):
        decode_photo(huge_png())
    padded = padded_photo(500_000)
    assert len(padded) == pytest.approx(500_000, abs=5)
    assert decode_photo(padded).shape == (64, 64, 3)


def test_ratios_are_those_of_rounds_and_each_has_its_goal():
    point = {"rps": 10.0, "p50": 100.0}
    limit = {"rps": 11.0, "alone_s": [0.09, 0.1, 0.11], "lane_s": [0.2], "lanes": 2}
    found = {
        "default": "int8",
        "servers": {
            "ours int8": {"1": [point], "8": [point, point | {"rps": 30.0}]},
            "KServe tutorial": {"1": [point], "8": [point | {"rps": 2.0}] * 2},
            "LitServe usual": {"1": [point | {"rps": 0.0}], "8": [point | {"rps": 5.0}] * 2},
        },
        "limit": {"int8": [limit, limit | {"rps": 30.0}]},
        "open": {"ours int8": {"0.8": {"p99": 300.0, "ideal_p99": 200.0}}},
    }
    by_name = {ratio.what: ratio for ratio in ratios(found)}
    over_limit = by_name["ours int8, c=8: requests per second over the limit"]
    assert (over_limit.low, over_limit.high, over_limit.met) == (pytest.approx(10 / 11), 1.0, "yes")
    assert by_name["ours int8, c=1: p50 over the bare call"].value == pytest.approx(1)
    assert by_name["ours int8, open at 80%: p99 over the ideal queue's"].met == "no"
    assert by_name["ours int8, c=8: requests per second over KServe tutorial"].value == 10
    assert not any("c=1" in what and "LitServe" in what for what in by_name)  # it answered nothing

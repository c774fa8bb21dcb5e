"""The pure parts of the benchmarks of serving, against what theory says."""

import asyncio

import numpy as np
import pytest

from benchmarks.serving.load import closed_loop, open_loop, poisson_arrivals
from benchmarks.serving.queueing import simulate
from benchmarks.serving.samples import Samples, merge, percentile

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

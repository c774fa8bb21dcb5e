"""A short form of the experiments in benchmarks/gateway/kills.py."""

import asyncio

import pytest

from benchmarks.gateway.kills import COMPONENTS, run
from tests.programs import need


@pytest.mark.long
def test_no_photo_is_lost_and_none_answered_twice_differently(tmp_path):
    need("redis-server")
    outcomes = asyncio.run(run(COMPONENTS, 2, 7, tmp_path))
    assert [outcome.component for outcome in outcomes] == [name for name in COMPONENTS for _ in range(2)]
    assert all(outcome.accepted == 28 for outcome in outcomes)
    assert all(outcome.good for outcome in outcomes), [each for each in outcomes if not each.good]

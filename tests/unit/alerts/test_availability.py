"""On-shelf availability by day, and its trend."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.alerts.availability import by_day, trend

START = datetime(2026, 3, 2, 8)


def test_a_day_is_the_median_of_its_photos():
    photos = [(START + timedelta(hours=hour), osa) for hour, osa in ((30, 0.7), (0, 0.9), (2, 0.1), (1, 0.8))]
    days = by_day(photos)
    assert [(str(one.day), one.osa, one.photos) for one in days] == [
        ("2026-03-02", 0.8, 3),
        ("2026-03-03", 0.7, 1),
    ]
    assert by_day([]) == []


@given(st.floats(-0.02, 0.02), st.integers(3, 28), st.data())
def test_a_wrong_day_in_five_does_not_turn_a_trend(slope, count, data):
    values = [0.6 + slope * number for number in range(count)]
    for number in data.draw(st.sets(st.integers(0, count - 1), max_size=count // 5)):
        values[number] = data.draw(st.floats(0, 1))
    found = trend(by_day((START + timedelta(days=number), value) for number, value in enumerate(values)))
    assert found == pytest.approx(slope, abs=1e-9)


def test_two_days_are_no_trend():
    assert trend(by_day((START + timedelta(days=number), 0.5) for number in range(2))) is None
    gap = [(START + timedelta(days=day), 0.9 - 0.01 * day) for day in (0, 10, 20)]
    assert trend(by_day(gap)) == pytest.approx(-0.01)

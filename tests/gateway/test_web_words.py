"""What pages say, and the coordinates of their charts."""

from datetime import date, datetime, timedelta

import pytest

from serving.gateway.records.tables import Photo, State, Task
from serving.gateway.web import chart, words

NOON = datetime(2026, 1, 2, 12)
GAP = {"box": [0, 0, 9, 9], "tier": 2, "position": 5, "facings": 2, "confidence": 0.8, "kind": "gap"}
PULL = "1 place to pull forward"
UNCLEAR = "The record says 2, the photo shows 2, but not clearly"
LOW = {**GAP, "kind": "low_stock", "position": 1}


def shelf(*voids: dict) -> Photo:
    return Photo(task=Task.SHELVES, state=State.DONE, report={"voids": list(voids)}, osa=0.9)


def bin_photo(count: int, expected: int | None, verdict: str | None) -> Photo:
    return Photo(
        task=Task.BINS, state=State.DONE, report={}, count=count, expected_quantity=expected, verdict=verdict
    )


@pytest.mark.parametrize(
    ("photo", "said", "tone", "more"),
    [
        (shelf(), "Nothing is missing", "good", ""),
        (shelf(GAP), "2 facings missing in 1 place", "alarm", ""),
        (shelf(GAP, GAP | {"facings": 1}, LOW), "3 facings missing in 2 places", "alarm", PULL),
        (shelf(LOW), "Nothing is missing", "warn", PULL),
        (bin_photo(1, None, None), "1 item counted", "", ""),
        (bin_photo(3, 3, "accept"), "The record is right", "good", "The record says 3, the photo shows 3"),
        (bin_photo(3, 1, "reject"), "The record is wrong", "alarm", "The record says 1, the photo shows 3"),
        (bin_photo(2, 2, "ask"), "Count by hand", "warn", UNCLEAR),
        (Photo(state=State.QUEUED), "Waiting", "", ""),
        (Photo(state=State.QUEUED, error="away"), "Waiting", "", "away"),
        (Photo(state=State.DEAD, attempts=5, error="away"), "No answer after 5 attempts", "alarm", "away"),
    ],
)  # fmt: skip
def test_what_came_of_a_photo(photo, said, tone, more):
    assert words.of_photo(photo) == words.Said(said, tone, more)


def test_the_refill_list_is_in_the_order_of_the_shelf():
    voids = [GAP, {**GAP, "tier": 3, "position": 9}, {**GAP, "position": 1}, LOW | {"position": 7}]
    found = words.refill_list({"voids": voids})
    assert [(entry.number, entry.void) for entry in found] == [(1, 1), (2, 2), (3, 0), (4, 3)]
    assert found[2].words == "Tier 2, place 5: 2 facings missing"
    assert found[3].words == "Tier 2, place 7: pull stock forward"


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=-5), "less than a minute"),
        (timedelta(minutes=1, seconds=59), "1 minute"),
        (timedelta(hours=23, minutes=59), "23 hours"),
        (timedelta(days=2), "2 days"),
    ],
)
def test_how_long(length, said):
    assert words.duration(NOON, NOON + length) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "not known"), (1.0, "100 %"), (0.9712, "97.1 %"), (0.5, "50 %"), (0.9999, "100 %")],
)
def test_shares(share, said):
    assert words.percent(share) == said


def test_products_are_one_path():
    assert words.outline([[1.2, 2, 3, 4.6, 0.9], [5, 6, 7, 8, 0.5]]) == "M1 2H3V5H1zM5 6H7V8H5z"


def test_a_chart_of_days():
    days = [(date(2026, 1, 1), 0.94), (date(2026, 1, 3), 1.0), (date(2026, 1, 5), 0.97)]
    drawn = chart.draw(days, 0.95)
    (x0, y0), (x1, y1), (x2, y2) = drawn.dots
    assert (x0, x1 - x0, x2) == (chart.LEFT, pytest.approx(x2 - x1, abs=0.2), chart.WIDTH - chart.RIGHT)
    assert y1 < y2 < drawn.goal < y0
    assert [round(share, 2) for _, share in drawn.levels] == [1.0, 0.98, 0.96, 0.94]
    assert drawn.levels[0][0] == y1 == chart.TOP


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_chart_of_one_day(share):
    drawn = chart.draw([(date(2026, 1, 1), share)], 0.95)
    assert len(drawn.dots) == len(drawn.days) == 1
    assert chart.TOP <= drawn.dots[0][1] <= chart.HEIGHT - chart.BOTTOM

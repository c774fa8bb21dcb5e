"""Availability of bays, and bins that do not fit their record."""

from datetime import timedelta

import pytest
from pydantic import TypeAdapter

from serving.gateway.fields import LONGEST_NAME
from serving.gateway.records import feedback
from serving.gateway.records.bays import find_bays, find_mismatches
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Task
from stocktake.errors import BadRequest
from tests.gateway.bay_photos import ONE, START, answer, new_photo, show


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


def test_availability_now_and_its_trend(records):
    for day in range(10):
        show(records, 24 * day, osa=0.9 - 0.02 * day)
        show(records, 24 * day + 1, osa=0.9 - 0.02 * day)
    show(records, 24 * 4 + 2, osa=0.0)  # somebody stood before it: neither the day nor the trend minds
    show(records, 24 * 9 + 2, products=0, tiers=0, osa=1.0)
    show(records, -24 * 40, osa=0.2)
    with records.read() as session:
        (row,) = find_bays(session, START + timedelta(days=10)).items
        assert (row.store, row.bay, row.alerts) == ("Mitte", "A1", 0)
        assert row.osa == pytest.approx(0.72)
        assert row.osa_at == START + timedelta(days=9, hours=1)
        assert row.trend == pytest.approx(-0.02)
        assert len(row.days) == 10
        (long_after,) = find_bays(session, START + timedelta(days=100)).items
        assert (long_after.osa, long_after.trend, long_after.days) == (None, None, [])


def test_bays_come_page_by_page(records):
    for store, bay in (("Nord", "B1"), ("Mitte", "A2"), ("Mitte", "A1"), ("", "X")):
        for hour in (0, 1):
            show(records, hour, ONE, store=store, bay=bay)
    show(records, 0, bay="")
    until = START + timedelta(hours=2)
    with records.read() as session:
        found, cursor = [], None
        while True:
            page = find_bays(session, until, cursor=cursor, limit=1)
            found += [(row.store, row.bay, row.alerts) for row in page.items]
            if (cursor := page.next) is None:
                break
        assert found == [("", "X", 1), ("Mitte", "A1", 1), ("Mitte", "A2", 1), ("Nord", "B1", 1)]
        assert [row.bay for row in find_bays(session, until, stores=frozenset({"Nord"})).items] == ["B1"]
        assert [row.bay for row in find_bays(session, until, store="Mitte", bay="A2").items] == ["A2"]
        for nonsense in ("x", "bnVsbA==", "WzEsMl0="):
            with pytest.raises(BadRequest, match="cursor"):
                find_bays(session, until, cursor=nonsense)


def test_the_longest_names_fit_into_a_cursor(records):
    long = "\N{CANNED FOOD}" * LONGEST_NAME
    for store in (long, f"{long[:-1]}z"):
        show(records, 0, ONE, store=store, bay=long)
    with records.read() as session:
        page = find_bays(session, START + timedelta(hours=1), limit=1)
        assert page.next is not None
        follows = find_bays(session, START, cursor=TypeAdapter(Cursor).validate_python(page.next))
        assert len(follows.items) == 1


def bin_photo(records, hour, verdict, probability, bay, **fields):
    report = {"count": 3, "probabilities": [], "verdict": verdict, "match_probability": probability}
    return answer(records, new_photo(hour, Task.BINS, bay=bay, **fields), report)


def test_mismatches_are_sorted_by_how_sure_they_are(records):
    bin_photo(records, 0, "ask", 0.3, "P1")
    bin_photo(records, 0, "reject", 0.02, "P2")
    bin_photo(records, 0, "reject", 0.01, "P3")
    bin_photo(records, 0, "accept", 0.9, "P4")
    bin_photo(records, 0, "reject", 0.001, "P5")
    bin_photo(records, 1, "accept", 0.9, "P5")  # refilled, or counted anew, since
    bin_photo(records, 0, "ask", 0.1, "")
    bin_photo(records, 1, "ask", 0.2, "")  # bins without a name are all different ones
    counted = bin_photo(records, 0, "reject", 0.0, "P6")
    with records.write() as session:
        feedback.put(session, counted.id, feedback.Said("count", count=4), "ann")
    with records.read() as session:
        found, cursor = [], None
        while True:
            page = find_mismatches(session, cursor=cursor, limit=2)
            found += [(photo.verdict, photo.match_probability) for photo in page.items]
            if (cursor := page.next) is None:
                break
        assert found == [("reject", 0.01), ("reject", 0.02), ("ask", 0.1), ("ask", 0.2), ("ask", 0.3)]
        assert find_mismatches(session, stores=frozenset()).items == []
        assert len(find_mismatches(session, store="Mitte").items) == 5
        with pytest.raises(BadRequest, match="cursor"):
            find_mismatches(session, cursor=counted.id[::-1])

"""Several workers and people at one bay at once, in SQLite and in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import func, select

from serving.gateway import alerts
from serving.gateway.predictors import Answer
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Alert, AlertState, Job, Sighting, Task
from tests.gateway.bay_photos import ONE, new_photo, shelf_report

PHOTOS = 12


@pytest.fixture
def records(database):
    records = Records(database)
    records.migrate()
    yield records
    records.close()


def test_photos_that_are_done_at_once_are_one_alert(records):
    jobs = [Job(owner="cam", task=Task.SHELVES, photos=[new_photo(hour)]) for hour in range(PHOTOS)]
    with records.write() as session:
        session.add_all(jobs)  # of a job's own photos the ends are in order anyway

    def work(photo_id: str) -> None:
        with records.write() as session:
            done = photos.finish(session, photo_id, Answer(shelf_report(ONE), [], "shelf-detector", "1"))
            if done:
                alerts.observe(session, done)

    def acknowledge(_number: int) -> None:
        with records.read() as session:
            found = session.scalar(select(Alert.id))
        if found:
            with records.write() as session:
                alerts.change(session, found, AlertState.ACKNOWLEDGED, "ann")

    ids = [job.photos[0].id for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        calls = [partial(work, photo_id) for photo_id in ids + ids[::-1]]
        calls += [partial(acknowledge, number) for number in range(4)]
        for future in [pool.submit(call) for call in calls[::-1]]:
            future.result(timeout=60)
    with records.read() as session:
        (alert,) = session.scalars(select(Alert))
        assert (alert.seen, alert.severity) == (PHOTOS, PHOTOS - 1)
        assert session.scalar(select(func.count()).select_from(Sighting)) == PHOTOS
        assert alert.state in (AlertState.OPEN, AlertState.ACKNOWLEDGED)


def test_the_queries_are_those_of_both_databases(records):
    from datetime import timedelta

    from serving.gateway.records.alerts import AlertFilter, find_alerts
    from serving.gateway.records.bays import find_bays, find_mismatches
    from serving.gateway.records.tables import now
    from tests.gateway.bay_photos import START, answer, show

    for bay in ("Q1", "Q2"):
        for hour in (0, 1):
            show(records, hour, ONE, store="Both", bay=bay)
    for verdict, bay in (("reject", "R1"), ("ask", "R2")):
        report = {"count": 2, "probabilities": [], "verdict": verdict, "match_probability": 0.1}
        answer(records, new_photo(0, Task.BINS, store="Both", bay=bay), report)
    with records.read() as session:
        page = find_alerts(session, AlertFilter(now(), store="Both"), limit=1)
        rest = find_alerts(session, AlertFilter(now(), store="Both"), cursor=page.next)
        assert sorted(row.alert.bay for row in (*page.items, *rest.items)) == ["Q1", "Q2"]
        bays = find_bays(session, START + timedelta(days=1), store="Both", limit=1)
        (other,) = find_bays(session, START + timedelta(days=1), store="Both", cursor=bays.next).items
        assert (bays.items[0].bay, other.bay, other.osa) == ("Q1", "Q2", 0.9)
        first = find_mismatches(session, store="Both", limit=1)
        (second,) = find_mismatches(session, store="Both", cursor=first.next).items
        assert (first.items[0].bay, second.bay) == ("R1", "R2")

"""Several workers and people at one bay at once, in SQLite and in PostgreSQL."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import func, select, text

from serving.gateway import alerts
from serving.gateway.deleting import delete_records, forget_files
from serving.gateway.errors import NotFound
from serving.gateway.model_answers import Answer
from serving.gateway.records import photos
from serving.gateway.records.alerts import lock_bay
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Alert, AlertState, Feedback, Job, Photo, Sighting, Task
from tests.gateway.bay_photos import ONE, new_photo, shelf_report, show

PHOTOS = 12


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


def test_an_alert_is_dismissed_where_it_was_seen_last(records):
    """Somebody dismisses an alert at the moment at which a photo comes that shows it as another void."""
    first = show(records, 0, ONE)
    show(records, 1, ONE)
    with records.read() as session:
        alert_id = session.scalar(select(Alert.id))
    newest = new_photo(2)
    with records.write() as session:
        session.add(Job(owner="cam", task=Task.SHELVES, photos=[newest]))

    def dismiss() -> None:
        with records.write() as session:
            alerts.change(session, alert_id, AlertState.DISMISSED, "ann")

    with ThreadPoolExecutor(1) as pool:
        with records.write() as session:
            lock_bay(session, first.store, first.bay)
            dismissing = pool.submit(dismiss)
            wait_for_somebody(records)
            report = shelf_report((0.7, 0.76), ONE)
            done = photos.finish(session, newest.id, Answer(report, [], "shelf-detector", "1"))
            alerts.observe(session, done)
        dismissing.result(timeout=60)
    with records.read() as session:
        (said,) = session.scalars(select(Feedback))
        assert (said.photo_id, said.void, said.verdict) == (newest.id, 1, "not_a_void")


def test_a_photo_is_deleted_while_somebody_says_something_about_it(start_gateway, server_url):
    gateway = start_gateway(database=server_url)
    records, store = gateway.gateway.records, gateway.gateway.store
    photo = show(records, 0, ONE)
    with gateway.client() as client, ThreadPoolExecutor(1) as pool:
        with records.write() as session:
            session.execute(text("LOCK TABLE photos IN EXCLUSIVE MODE"))
            said = {"verdict": "not_a_void", "void": 0}
            saying = pool.submit(client.post, f"/api/photos/{photo.id}/feedback", json=said)
            wait_for_somebody(records)
            found = session.scalars(select(Photo).where(Photo.id == photo.id)).all()
            forget_files(session, store, found)
            delete_records(session, found)
        assert saying.result(timeout=60).status_code == 404


def test_a_photo_is_deleted_while_somebody_dismisses_its_alert(server_url):
    records = Records(server_url)
    records.migrate()
    photo = show(records, 0, ONE)
    with records.read() as session:
        alert_id = session.scalar(select(Alert.id))

    def dismiss() -> None:
        with records.write() as session:
            alerts.change(session, alert_id, AlertState.DISMISSED, "ann")

    with ThreadPoolExecutor(1) as pool:
        with records.write() as session:
            session.execute(text("LOCK TABLE photos IN EXCLUSIVE MODE"))
            dismissing = pool.submit(dismiss)
            wait_for_somebody(records)
            delete_records(session, session.scalars(select(Photo).where(Photo.id == photo.id)).all())
        with pytest.raises(NotFound):
            dismissing.result(timeout=60)
    records.close()


def wait_for_somebody(records) -> None:
    """Until a transaction waits for a lock; in SQLite none can begin to."""
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    deadline = time.monotonic() + 60
    while not records.is_sqlite:
        with records.read() as session:
            if session.scalar(waits):
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


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

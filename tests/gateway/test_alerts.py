"""Alerts in the records, of photos that are done."""

from datetime import timedelta

import pytest
from sqlalchemy import event, func, select

from serving.gateway import alerts, deleting
from serving.gateway.errors import Clash, NotFound
from serving.gateway.records import alerts as records_of
from serving.gateway.records.alerts import AlertFilter, find_alerts
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Alert, AlertState, Feedback, Photo, Sighting, now
from stocktake.errors import BadRequest
from stocktake.folder_store import FolderStore
from tests.gateway.bay_photos import ONE, START, show

S = AlertState
ALL = tuple(AlertState)


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


def kept(records: Records) -> list[Alert]:
    with records.read() as session:
        return list(session.scalars(select(Alert).order_by(Alert.first_seen, Alert.x0)))


def labels(records: Records) -> list[tuple]:
    with records.read() as session:
        return [
            (said.photo_id, said.void, said.verdict, said.by) for said in session.scalars(select(Feedback))
        ]


def change(records: Records, alert_id: str, state: AlertState, **more):
    with records.write() as session:
        return alerts.change(session, alert_id, state, "ann", **more)


def test_an_alert_opens_and_closes_with_the_photos_of_its_bay(records):
    show(records, 0, ONE)
    last = show(records, 5, (0.31, 0.37))
    (alert,) = kept(records)
    assert (alert.state, alert.seen, alert.severity, alert.x0) == (S.OPEN, 2, 5.0, 0.31)
    assert (alert.store, alert.bay, alert.last_photo_id) == ("Mitte", "A1", last.id)
    show(records, 6, ONE, bay="A2")  # another bay says nothing of this one
    show(records, 6, products=0, tiers=0)
    assert kept(records)[0].missed == 0
    show(records, 7)
    show(records, 8)
    assert {alert.bay: alert.state for alert in kept(records)} == {"A1": S.CLOSED, "A2": S.PENDING}


def test_a_photo_is_followed_once(records):
    photo = show(records, 0, ONE)
    show(records, 1)
    for _ in range(3):
        with records.write() as session:
            alerts.observe(session, session.get_one(Photo, photo.id))
    (alert,) = kept(records)
    assert (alert.seen, alert.missed) == (1, 1)
    with records.read() as session:
        assert session.scalar(select(func.count()).select_from(Sighting)) == 1


def test_the_same_bytes_again_are_no_news(records):
    show(records, 0, ONE, sha256="a" * 64)
    show(records, 1, ONE, sha256="a" * 64)
    show(records, 2, sha256="b" * 64)
    show(records, 3, sha256="b" * 64)
    (alert,) = kept(records)
    assert (alert.state, alert.seen, alert.missed) == (S.PENDING, 1, 1)


def test_a_photo_of_a_bay_with_a_long_history_is_looked_up_by_its_bytes(records):
    """SQLite would walk all photos of the bay, reports and all, where that index fits better."""
    asked: list[tuple[str, tuple]] = []

    @event.listens_for(records.engine, "before_cursor_execute")
    def _(_connection, _cursor, statement, parameters, _context, _many):
        asked.append((statement, parameters))

    show(records, 0)
    ((statement, parameters),) = [each for each in asked if "EXISTS" in each[0]]
    with records.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert [row.detail for row in plan if "photos_by" in row.detail] == [
        "SEARCH photos USING INDEX photos_by_bytes (sha256=? AND store=? AND bay=?)"
    ]


def test_photos_without_a_bay_are_not_followed(records):
    show(records, 0, ONE, bay="")
    show(records, 1, ONE, bay="")
    assert kept(records) == []


def test_a_late_photo_is_no_news(records):
    newest = show(records, 4, ONE)
    show(records, 1, ONE)
    (alert,) = kept(records)
    assert (alert.state, alert.first_seen) == (S.OPEN, START + timedelta(hours=1))
    assert alert.last_photo_id == newest.id
    for hour in (6, 7):
        show(records, hour)
    show(records, 2, ONE)
    assert [(alert.state, alert.seen) for alert in kept(records)] == [(S.CLOSED, 3)]


def test_an_alert_outlives_the_deletion_of_its_last_photo(records, tmp_path):
    photos = [show(records, hour, ONE) for hour in range(3)]
    for photo, left in zip(photos[::-1], (photos[1].id, photos[0].id), strict=False):
        deleting.delete_photo(records, FolderStore(tmp_path), photo.id)
        assert [alert.last_photo_id for alert in kept(records)] == [left]
    deleting.delete_photo(records, FolderStore(tmp_path), photos[0].id)
    assert kept(records) == []


def test_people_change_alerts(records):
    show(records, 0, ONE)
    show(records, 1, ONE)
    (alert,) = kept(records)
    until = now() + timedelta(days=1)
    assert change(records, alert.id, S.ACKNOWLEDGED).alert.changed_by == "ann"
    change(records, alert.id, S.SNOOZED, until=until)
    show(records, 2, ONE)
    assert (kept(records)[0].state, kept(records)[0].snoozed_until) == (S.SNOOZED, until)
    last = change(records, alert.id, S.DISMISSED).alert.last_photo_id
    assert labels(records) == [(last, 0, "not_a_void", "ann")]
    show(records, 3, ONE)
    show(records, 4, ONE)
    assert [alert.state for alert in kept(records)] == [S.DISMISSED]
    change(records, alert.id, S.OPEN)
    assert labels(records) == []
    change(records, alert.id, S.CLOSED)
    with pytest.raises(Clash, match="closed; it cannot be made open"):
        change(records, alert.id, S.OPEN)


@pytest.mark.parametrize(
    ("state", "until", "error", "message"),
    [
        (S.SNOOZED, None, BadRequest, "until"),
        (S.SNOOZED, timedelta(hours=-1), BadRequest, "until"),
        (S.SNOOZED, timedelta(days=91), BadRequest, "next 90 days"),
        (S.OPEN, timedelta(days=1), BadRequest, "goes with snoozed"),
        (S.PENDING, None, Clash, "cannot be made pending"),
        (S.MERGED, None, Clash, "cannot be made merged"),
    ],
)
def test_changes_that_make_no_sense(records, state, until, error, message):
    show(records, 0, ONE)
    (alert,) = kept(records)
    with pytest.raises(error, match=message):
        change(records, alert.id, state, until=until and now() + until)
    assert kept(records)[0].state == S.PENDING


def test_nobody_changes_alerts_of_stores_that_he_does_not_see(records):
    show(records, 0, ONE)
    (alert,) = kept(records)
    for stores, alert_id in ((frozenset({"Nord"}), alert.id), (None, "0" * 32)):
        with pytest.raises(NotFound):
            change(records, alert_id, S.CLOSED, stores=stores)


def test_alerts_are_listed_by_severity_and_page(records):
    for bay, hours in (("A1", 1), ("A2", 3), ("A3", 2), ("A4", 3)):
        for hour in (0, hours):
            show(records, hour, ONE, bay=bay)
    show(records, 0, ONE, bay="A5")  # pending
    with records.read() as session:
        page = find_alerts(session, AlertFilter(now()), limit=3)
        rest = find_alerts(session, AlertFilter(now()), cursor=page.next)
        assert [row.alert.severity for row in page.items] == [3.0, 3.0, 2.0]
        assert {row.alert.bay for row in (*page.items, *rest.items)} == {"A1", "A2", "A3", "A4"}
        assert rest.next is None
        assert {row.void for row in page.items} == {0}
        assert find_alerts(session, AlertFilter(now(), stores=frozenset({"Nord"}))).items == []
        (only,) = find_alerts(session, AlertFilter(now(), store="Mitte", bay="A2")).items
        assert only.alert.bay == "A2"
        assert len(find_alerts(session, AlertFilter(now(), states=ALL)).items) == 5
        with pytest.raises(BadRequest, match="cursor"):
            find_alerts(session, AlertFilter(now()), cursor="nonsense")


def test_a_sleeper_is_open_once_its_time_is_over(records):
    show(records, 0, ONE)
    show(records, 1, ONE)
    (alert,) = kept(records)
    until = now() + timedelta(hours=1)
    change(records, alert.id, S.SNOOZED, until=until)
    for moment, state in ((now(), S.SNOOZED), (until, S.OPEN)):
        with records.read() as session:
            for wanted in (S.SNOOZED, S.OPEN):
                found = find_alerts(session, AlertFilter(moment, states=(wanted,))).items
                assert bool(found) == (wanted == state)
            row = records_of.find_alert(session, alert.id)
            assert records_of.state_at(row.alert, moment) == state

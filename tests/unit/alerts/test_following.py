"""Alerts over made-up photos of one bay, hours apart."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.alerts.following import VoidAlert, follow
from stocktake.alerts.looks import Look
from stocktake.alerts.rules import AlertRules, AlertState
from stocktake.errors import SettingsError

START = datetime(2026, 3, 2, 8)
ONE = (0.30, 0.36)
S = AlertState


def look(hour: float, *voids: tuple[float, float], tier: int = 1, facings: int = 1, **report) -> Look:
    """A photo of three tiers, 1000 px wide, with voids at shares of its width."""
    found = [
        {
            "box": [1000 * x0, 10, 1000 * x1, 90],
            "tier": tier,
            "position": 3,
            "facings": facings,
            "confidence": 0.8,
            "kind": report.get("kind", "gap"),
        }
        for x0, x1 in voids
    ]
    about = {"products": report.get("products", 40), "tiers": report.get("tiers", 3), "voids": found}
    return Look.of(about, 1000, START + timedelta(hours=hour))


class Bay:
    """What the gateway does, with lists for tables."""

    def __init__(self, **rules):
        self.rules = AlertRules(**rules)
        self.alerts: list[VoidAlert] = []
        self.looks: list[Look] = []

    def show(self, *looks: Look) -> "Bay":
        for one in looks:
            self.sightings = follow_twice(self, one)
        return self

    @property
    def states(self) -> list[AlertState]:
        return [alert.state for alert in self.alerts]

    def change(self, number: int = 0, **fields) -> None:
        self.alerts[number] = replace(self.alerts[number], **fields)


def follow_twice(bay: Bay, one: Look) -> dict[int, int]:
    """It is a pure function, and leaves what it was given alone."""
    before = list(bay.alerts)
    done = follow(bay.alerts, one, bay.looks, bay.rules)
    assert done == follow(before, one, bay.looks, bay.rules)
    assert set(done.sightings) <= {void.number for void in one.voids}
    bay.alerts, bay.looks = done.alerts, [*bay.looks, one]
    return done.sightings


def test_an_alert_opens_grows_worse_and_closes():
    bay = Bay().show(look(0, ONE))
    assert bay.states == [S.PENDING]
    bay.show(look(3, (0.31, 0.37), facings=2))
    (alert,) = bay.alerts
    assert (alert.state, alert.seen, alert.severity) == (S.OPEN, 2, 6.0)
    assert (alert.place.x0, alert.facings) == (0.31, 2)
    bay.show(look(4))
    assert (bay.alerts[0].state, bay.alerts[0].missed) == (S.OPEN, 1)
    bay.show(look(5))
    (alert,) = bay.alerts
    assert (alert.state, alert.closed_at, alert.severity) == (S.CLOSED, START + timedelta(hours=4), 6.0)


def test_one_that_comes_back_is_another_one():
    bay = Bay().show(look(0, ONE), look(1, ONE), look(2), look(3), look(4, ONE))
    assert bay.states == [S.CLOSED, S.PENDING]
    assert bay.alerts[1].first_seen == START + timedelta(hours=4)


def test_a_sighting_between_two_misses_keeps_it_open():
    bay = Bay().show(look(0, ONE), look(1, ONE), look(2), look(3, ONE), look(4))
    assert (bay.states, bay.alerts[0].missed) == ([S.OPEN], 1)


@pytest.mark.parametrize(
    "blind",
    [
        {"products": 0, "tiers": 0},  # a hand before the lens
        {"tiers": 0},
        {"voids": (ONE,), "kind": "low_stock"},  # the front is empty still
    ],
)
def test_photos_that_do_not_show_the_place_refilled_close_nothing(blind):
    voids = blind.pop("voids", ())
    bay = Bay().show(look(0, ONE), look(1, ONE))
    bay.show(*(look(hour, *voids, **blind) for hour in (2, 3, 4)))
    assert (bay.states, bay.alerts[0].missed) == ([S.OPEN], 0)


def test_a_photo_without_the_tier_says_nothing_of_it():
    bay = Bay().show(look(0, ONE, tier=3), look(1, ONE, tier=3))
    bay.show(look(2, tiers=2), look(3, tiers=2))
    assert bay.states == [S.OPEN]
    assert Bay().show(look(0, ONE, kind="low_stock"), look(1, ONE, kind="low_stock")).alerts == []


def test_two_photos_of_one_moment_are_one_sighting_and_one_miss():
    bay = Bay().show(look(0, ONE), look(0, (0.305, 0.365)))
    assert (bay.states, bay.alerts[0].seen) == ([S.PENDING], 1)
    bay.show(look(1, ONE), look(1))  # they contradict each other: no miss of something seen at that moment
    assert (bay.states, bay.alerts[0].missed) == ([S.OPEN], 0)
    bay.show(look(2), look(2))
    assert (bay.states, bay.alerts[0].missed) == ([S.OPEN], 1)


def test_a_late_photo_does_not_open_what_was_refilled_since():
    bay = Bay().show(look(0, ONE), look(3), look(4), look(1, ONE))
    assert (bay.states, bay.alerts[0].seen) == ([S.CLOSED], 2)
    assert Bay().show(look(3), look(4), look(1, ONE)).alerts == []
    bay = Bay().show(look(3), look(1, ONE))  # one refilled photo is not enough
    assert (bay.states, bay.alerts[0].missed) == ([S.PENDING], 1)


def test_a_late_photo_closes_nothing_that_was_seen_since():
    bay = Bay().show(look(0, ONE), look(4, ONE), look(1), look(2), look(3))
    assert (bay.states, bay.alerts[0].missed) == ([S.OPEN], 0)


def test_a_late_sighting_takes_back_a_miss_before_it():
    bay = Bay(close_after=3).show(look(0, ONE), look(1, ONE), look(2), look(4), look(3, ONE))
    assert bay.alerts[0].missed == 1
    assert bay.alerts[0].last_seen == START + timedelta(hours=3)


def test_a_late_sighting_is_older_but_not_where_it_is_now():
    bay = Bay().show(look(2, (0.32, 0.38), facings=2), look(0, ONE))
    (alert,) = bay.alerts
    assert (alert.state, alert.first_seen, alert.severity) == (S.OPEN, START, 4.0)
    assert (alert.place.x0, alert.facings) == (0.32, 2)


def test_a_photo_that_is_too_late_changes_nothing():
    bay = Bay(latest=3).show(look(5), look(6), look(7, ONE), look(1, ONE))
    assert (bay.states, bay.alerts[0].seen, bay.sightings) == ([S.PENDING], 1, {})


def test_dismissed_stays_silent_unless_it_grows():
    bay = Bay().show(look(0, ONE), look(1, ONE))
    bay.change(state=S.DISMISSED, closed_at=START + timedelta(hours=1))
    bay.show(look(2, ONE), look(3), look(4), look(5, (0.29, 0.35)))
    assert (bay.states, bay.alerts[0].seen, bay.alerts[0].place.x0) == ([S.DISMISSED], 4, 0.30)
    bay.show(look(6, (0.28, 0.46), facings=3), look(7, (0.28, 0.46), facings=3))
    assert bay.states == [S.DISMISSED, S.OPEN]


def test_dismissed_is_forgotten_after_a_while():
    bay = Bay(silence=timedelta(days=1)).show(look(0, ONE))
    bay.change(state=S.DISMISSED, closed_at=START)
    bay.show(look(23, ONE))
    assert bay.states == [S.DISMISSED]
    bay.show(look(24, ONE))
    assert bay.states == [S.DISMISSED, S.PENDING]


def test_snoozed_wakes_with_a_photo_and_acknowledged_stays():
    bay = Bay().show(look(0, ONE, (0.7, 0.8)), look(1, ONE, (0.7, 0.8)))
    bay.change(0, state=S.SNOOZED, snoozed_until=START + timedelta(hours=3))
    bay.change(1, state=S.ACKNOWLEDGED)
    bay.show(look(2, ONE, (0.7, 0.8)))
    assert bay.states == [S.SNOOZED, S.ACKNOWLEDGED]
    bay.show(look(3, ONE, (0.7, 0.8)))
    assert bay.states == [S.OPEN, S.ACKNOWLEDGED]
    bay.show(look(4), look(5))
    assert bay.states == [S.CLOSED, S.CLOSED]


def test_voids_merge_into_the_older_one():
    bay = Bay().show(look(0, (0.50, 0.56)), look(1, (0.30, 0.36), (0.50, 0.56)))
    bay.show(look(2, (0.30, 0.56), facings=4))
    assert bay.states == [S.OPEN, S.MERGED]
    wide = bay.alerts[0]
    assert (wide.place.x0, wide.place.x1, wide.facings, wide.first_seen) == (0.30, 0.56, 4, START)
    assert bay.sightings == {0: 0}
    bay.show(look(3, (0.30, 0.56), facings=4), look(4), look(5))
    assert bay.states == [S.CLOSED, S.MERGED]


def test_a_merge_with_one_that_sleeps_is_awake():
    bay = Bay().show(look(0, (0.30, 0.36)), look(1, (0.30, 0.36), (0.50, 0.56)), look(2, ONE, (0.50, 0.56)))
    bay.change(0, state=S.SNOOZED, snoozed_until=START + timedelta(days=9))
    bay.show(look(3, (0.30, 0.56)))
    assert bay.states == [S.OPEN, S.MERGED]


def test_a_void_splits_into_two_of_the_same_age():
    bay = Bay().show(look(0, (0.30, 0.60), facings=5), look(2, (0.30, 0.60), facings=5))
    bay.show(look(3, (0.30, 0.36), (0.50, 0.60)))
    assert bay.states == [S.OPEN, S.OPEN]
    assert {alert.first_seen for alert in bay.alerts} == {START}
    assert {alert.place.x0 for alert in bay.alerts} == {0.30, 0.50}
    assert bay.alerts[1].id is None


def test_a_late_photo_neither_merges_nor_splits():
    bay = Bay().show(look(0, (0.30, 0.36), (0.50, 0.56)), look(4, (0.30, 0.36), (0.50, 0.56)))
    bay.show(look(2, (0.30, 0.56)))
    assert bay.states == [S.OPEN, S.OPEN]
    bay = Bay().show(look(0, (0.30, 0.56)), look(4, (0.30, 0.56)), look(2, (0.30, 0.36), (0.50, 0.56)))
    assert (bay.states, bay.sightings) == ([S.OPEN], {0: 0, 1: 0})


@pytest.mark.parametrize("name", ["open_after", "close_after", "latest"])
def test_rules_that_never_open_or_close(name):
    with pytest.raises(SettingsError, match=name):
        AlertRules(**{name: 0})


SHOWN = st.sampled_from([(), (ONE,), ((0.305, 0.37),), ((0.7, 0.8),), (ONE, (0.7, 0.8)), ((0.28, 0.82),)])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), SHOWN), max_size=14), st.integers(1, 3), st.integers(1, 3))
def test_in_any_order_every_void_is_one_alert_and_times_make_sense(photos, opens, closes):
    bay = Bay(open_after=opens, close_after=closes)
    for hour, voids in photos:
        one = look(hour, *voids)
        bay.show(one)
        newest = one.taken_at >= max(other.taken_at for other in bay.looks)
        if newest:  # what is shown now is an alert that lives, each its own
            assert set(bay.sightings) == {void.number for void in one.voids}
            assert len(set(bay.sightings.values())) == len(bay.sightings)
            assert all(bay.alerts[number].is_live for number in bay.sightings.values())
    for alert in bay.alerts:
        assert alert.first_seen <= alert.last_seen
        assert alert.seen <= len(photos)
        assert (alert.closed_at is None) == alert.is_live
        if alert.state == S.PENDING:
            assert alert.seen < opens
        if alert.is_live:
            assert alert.missed < closes
        if alert.state == S.CLOSED:
            assert alert.closed_at > alert.last_seen


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_the_order_of_arrival_does_not_leave_open_what_is_refilled(empty, data):
    """The place is empty or full hour by hour, and surely full or surely empty at the end."""
    hours = [look(hour, *((ONE,) if shown else ())) for hour, shown in enumerate(empty)]
    for last in (True, False):
        end = [look(len(empty) + extra, *((ONE,) if last else ())) for extra in range(2)]
        bay = Bay().show(*data.draw(st.permutations(hours + end)))
        told = [alert for alert in bay.alerts if alert.state == S.OPEN]
        assert len(told) == last
        assert len([alert for alert in bay.alerts if alert.is_live]) == last

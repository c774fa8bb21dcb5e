"""Alerts, feedback, bays and mismatches over HTTP."""

import csv
from datetime import UTC, datetime, timedelta
from functools import partial, partialmethod

import anyio.from_thread
import httpx
import pytest
from anyio.from_thread import BlockingPortal
from sqlalchemy import select

from serving.gateway.access import Access, Role, add_token
from serving.gateway.app import create_app
from serving.gateway.gateway import open_gateway
from serving.gateway.records.tables import Alert, AlertState, Feedback, State, Task
from serving.gateway.settings import load_gateway_settings
from tests.gateway.bay_photos import ONE, answer, new_photo, show


class Client:
    """Requests to an application in the loop that its gateway lives in."""

    def __init__(self, portal: BlockingPortal, app, token: str | None = None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app)
        self._portal = portal
        self._http = httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    def _request(self, method: str, path: str, **more) -> httpx.Response:
        return self._portal.call(partial(self._http.request, method, path, **more))

    get = partialmethod(_request, "GET")
    post = partialmethod(_request, "POST")
    patch = partialmethod(_request, "PATCH")


class Site:
    """A gateway over an empty folder, and a client of each role."""

    def __init__(self, portal, folder, gateway):
        self.records = gateway.records
        tokens = folder / "tokens.yaml"
        who = {
            "viewer": (Role.VIEWER, None),
            "operator": (Role.OPERATOR, None),
            "nord": (Role.OPERATOR, ["Nord"]),
        }
        given = {name: add_token(tokens, name, role, stores) for name, (role, stores) in who.items()}
        app = create_app(gateway, Access(tokens))
        self.viewer, self.operator, self.nord = (Client(portal, app, given[name]) for name in who)
        self.stranger = Client(portal, app)

    def alerts(self, **query) -> list[dict]:
        answer = self.viewer.get("/api/alerts", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]


@pytest.fixture
def site(tmp_path):
    settings = load_gateway_settings(
        database=f"sqlite:///{tmp_path}/records.db", photos=str(tmp_path / "photos"), redis=None
    )
    with anyio.from_thread.start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(open_gateway(settings)) as gateway:
            yield Site(portal, tmp_path, gateway)


def test_an_alert_is_listed_changed_and_exported(site):
    show(site.records, 0, ONE, store="=Mitte")
    assert site.alerts() == []
    last = show(site.records, 5, ONE, store="=Mitte")
    (alert,) = site.alerts()
    assert alert["state"] == "open"
    assert (alert["severity"], alert["facings"], alert["tier"], alert["position"]) == (5.0, 1, 1, 3)
    assert (alert["first_seen"], alert["photo"], alert["void"]) == ("2026-03-02T08:00:00.000Z", last.id, 0)
    assert alert["links"]["crop"] == f"/api/photos/{last.id}/voids/0.jpg"
    assert site.viewer.get(alert["links"]["self"]).json() == alert
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    changed = site.operator.patch(alert["links"]["self"], json={"state": "snoozed", "until": until}).json()
    assert (changed["state"], changed["changed_by"]) == ("snoozed", "operator")
    assert changed["snoozed_until"][:19] == until[:19]
    assert site.alerts(state=["open", "closed"]) == []
    assert site.alerts(state=["snoozed"]) == [changed]
    (row,) = csv.DictReader(site.viewer.get("/api/alerts.csv", params={"bay": "A1"}).text.splitlines())
    assert (row["store"], row["bay"], row["state"], row["facings"]) == ("'=Mitte", "A1", "snoozed", "1")


def test_who_may_do_what(site):
    for hour in (0, 1):
        show(site.records, hour, ONE)
    (alert,) = site.alerts()
    path, photo = alert["links"]["self"], alert["links"]["photo"]
    assert site.stranger.get("/api/alerts").status_code == 401
    assert site.viewer.patch(path, json={"state": "closed"}).status_code == 403
    assert site.viewer.post(f"{photo}/feedback", json={"verdict": "void", "void": 0}).status_code == 403
    assert site.nord.get("/api/alerts").json() == {"items": [], "next": None}
    assert site.nord.get("/api/bays").json() == {"items": [], "next": None}
    for refused in (
        site.nord.get(path),
        site.nord.patch(path, json={"state": "closed"}),
        site.nord.post(f"{photo}/feedback", json={"verdict": "void", "void": 0}),
        site.nord.get(f"{photo}/feedback"),
    ):
        assert (refused.status_code, list(refused.json())) == (404, ["error"])
    assert [one["state"] for one in site.alerts()] == ["open"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 400, "state"),
        ({"state": "gone"}, 400, "state"),
        ({"state": "merged"}, 400, "state"),
        ({"state": "snoozed"}, 400, "until"),
        ({"state": "snoozed", "until": "2099-01-01T00:00:00Z"}, 400, "until"),
        ({"state": "snoozed", "until": "soon"}, 400, "until"),
        ({"state": "snoozed", "until": "2099-01-01T00:00:00"}, 400, "until"),
        ({"state": "open", "until": "2099-01-01T00:00:00Z"}, 400, "until"),
        ({"state": "open", "by": "me"}, 400, "by"),
    ],
)
def test_wrong_changes_are_told(site, body, status, word):
    show(site.records, 0, ONE)
    (alert,) = site.alerts(state="pending")
    answer = site.operator.patch(alert["links"]["self"], json=body)
    assert answer.status_code == status
    assert word in answer.json()["error"]
    assert site.alerts(state="pending") == [alert]


def test_what_is_over_stays_over(site):
    show(site.records, 0, ONE)
    (alert,) = site.alerts(state="pending")
    assert site.operator.patch(alert["links"]["self"], json={"state": "closed"}).json()["state"] == "closed"
    answer = site.operator.patch(alert["links"]["self"], json={"state": "open"})
    assert answer.status_code == 409
    for path in ("0" * 32, "x", alert["id"].upper()):
        answer = site.operator.patch(f"/api/alerts/{path}", json={"state": "open"})
        assert answer.status_code in (400, 404)
    assert site.viewer.get("/api/alerts", params={"cursor": "x"}).status_code == 400
    assert site.viewer.get("/api/alerts", params={"state": "x"}).status_code == 400
    assert site.viewer.get("/api/alerts", params={"limit": 0}).status_code == 400


def test_not_a_void_silences_the_place_and_can_be_taken_back(site):
    photo = show(site.records, 0, ONE, (0.7, 0.8))
    path = f"/api/photos/{photo.id}/feedback"
    answer = site.operator.post(path, json={"verdict": "not_a_void", "void": 0, "note": " a post "})
    assert (answer.status_code, answer.json()["note"], answer.json()["by"]) == (200, "a post", "operator")
    for hour in (1, 2):
        show(site.records, hour, ONE, (0.7, 0.8))
    assert [round(alert["x0"], 2) for alert in site.alerts()] == [0.7]
    assert len(site.alerts(state="dismissed")) == 1
    site.operator.post(path, json={"verdict": "void", "void": 0})
    assert len(site.alerts()) == 2
    (said,) = site.viewer.get(path).json()["items"]
    assert (said["verdict"], said["void"], said["box"]) == ("void", 0, None)


def test_a_person_is_worth_two_photos(site):
    photo = show(site.records, 0, ONE)
    site.operator.post(f"/api/photos/{photo.id}/feedback", json={"verdict": "void", "void": 0})
    assert [alert["state"] for alert in site.alerts()] == ["open"]


def test_missed_voids_are_labels(site):
    photo = show(site.records, 0)
    path = f"/api/photos/{photo.id}/feedback"
    for _ in range(2):
        site.operator.post(path, json={"verdict": "missed", "box": [10, 20, 60.04, 90]})
    site.operator.post(path, json={"verdict": "missed", "box": [110, 20, 160, 90]})
    found = site.viewer.get(path).json()["items"]
    assert [one["box"] for one in found] == [[10, 20, 60, 90], [110, 20, 160, 90]]


@pytest.mark.parametrize(
    "body",
    [
        {"verdict": "void"},
        {"verdict": "void", "void": 1},
        {"verdict": "void", "void": -1},
        {"verdict": "void", "void": 0, "box": [1, 2, 30, 40]},
        {"verdict": "missed", "void": 0},
        {"verdict": "missed", "box": [1, 2, 30]},
        {"verdict": "missed", "box": [30, 2, 1, 40]},
        {"verdict": "missed", "box": [1, 2, 1001, 40]},
        {"verdict": "missed", "box": [1, 2, "NaN", 40]},
        {"verdict": "count", "count": 3},
        {"verdict": "true", "void": 0},
        {"verdict": "void", "void": 0, "note": "x" * 1001},
        {"verdict": "void", "void": 0, "note": "a\x00b"},
        [],
        None,
    ],
)
def test_feedback_that_does_not_fit_is_refused(site, body):
    photo = show(site.records, 0, ONE)
    answer = site.operator.post(f"/api/photos/{photo.id}/feedback", json=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    with site.records.read() as session:
        assert session.scalars(select(Feedback)).all() == []
        assert session.scalar(select(Alert.state)) == AlertState.PENDING


def test_bins_and_their_mismatches(site):
    report = {"count": 3, "probabilities": [], "verdict": "reject", "match_probability": 0.01}
    photo = answer(site.records, new_photo(0, Task.BINS, bay="P7", expected_quantity=5), report)
    (found,) = site.viewer.get("/api/mismatches").json()["items"]
    assert (found["id"], found["count"], found["expected_quantity"]) == (photo.id, 3, 5)
    path = f"/api/photos/{photo.id}/feedback"
    assert site.operator.post(path, json={"verdict": "void", "void": 0}).status_code == 400
    assert site.operator.post(path, json={"verdict": "count", "count": 4}).json()["count"] == 4
    assert site.operator.post(path, json={"verdict": "count", "count": 5}).json()["count"] == 5
    assert [one["count"] for one in site.viewer.get(path).json()["items"]] == [5]
    assert site.viewer.get("/api/mismatches", params={"store": "Mitte"}).json()["items"] == []


def test_a_photo_without_a_report_cannot_be_judged(site):
    photo = show(site.records, 0, ONE)
    with site.records.write() as session:
        session.merge(photo).state = State.RUNNING
    answer = site.operator.post(f"/api/photos/{photo.id}/feedback", json={"verdict": "void", "void": 0})
    assert answer.status_code == 409


def test_bays(site):
    today = datetime.now(UTC).replace(tzinfo=None)
    for days in range(5):
        answer(
            site.records,
            new_photo(taken_at=today - timedelta(days=days), bay="A&1"),
            {"products": 9, "tiers": 1, "osa": 0.5 + days / 100, "voids": []},
        )
    (bay,) = site.viewer.get("/api/bays").json()["items"]
    assert (bay["store"], bay["bay"], bay["osa"], bay["alerts"]) == ("Mitte", "A&1", 0.5, 0)
    assert bay["trend"] == pytest.approx(-0.01)
    assert [day["osa"] for day in bay["days"]] == pytest.approx([0.54, 0.53, 0.52, 0.51, 0.5])
    assert site.viewer.get(bay["links"]["alerts"]).status_code == 200
    assert "bay=A%261" in bay["links"]["photos"]

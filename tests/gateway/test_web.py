"""The pages as they come from the server, without a browser."""

import base64
import html
import io
import re
from html.parser import HTMLParser

import httpx
import pytest
from PIL import Image
from sqlalchemy import event

from serving.gateway.access import Role
from serving.gateway.records.tables import Job, Photo, State, Task
from serving.gateway.web.marking import Sides
from tests.gateway_pages import Visitor
from tests.gateway_thread import grey_photo, shelf_photo

EVIL = """<script>alert("x")</script>'"><img src=x onerror=alert(1)>"""
PATHS = ("/", "/alerts", "/bays", "/bins", "/cameras", "/history", "/jobs", "/sign-in", "/nowhere")


@pytest.fixture(scope="module")
def visitor(gateway):
    return Visitor(gateway)


@pytest.fixture(scope="module")
def shelf(visitor):
    """The path of a photo with one void."""
    return visitor.checked(shelf_photo(), store="Main Street", bay="7")


def text_of(page: str) -> str:
    """What one reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def tags_of(page: str) -> list[tuple[str, dict[str, str]]]:
    """Names and attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda name, attributes: found.append((name, dict(attributes)))
    parser.feed(page)
    return found


def add_job(gateway, state: State, **fields) -> Job:
    about = {"task": Task.SHELVES, "sha256": "0" * 64, "size": 1, "width": 8, "height": 8, "format": "png"}
    job = Job(owner="camera", task=Task.SHELVES, photos=[Photo(state=state, **about, **fields)])
    with gateway.gateway.records.write() as session:
        session.add(job)
    return job


@pytest.mark.parametrize("path", ["/", "/photos/1?a=b", "/jobs"])
def test_who_is_not_signed_in_is_asked_to_and_comes_back(gateway, path):
    with httpx.Client(base_url=gateway.url, trust_env=False) as http:
        asked = http.get(path)
        assert asked.status_code == 303
        form = http.get(asked.headers["location"]).text
        target = html.unescape(re.search(r'name="target" value="([^"]*)"', form)[1])
        assert target == path
        done = http.post("/sign-in", data={"token": gateway.tokens["viewer"], "target": target})
        assert (done.status_code, done.headers["location"]) == (303, path)
        cookie = done.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\n/x"])
def test_nobody_is_sent_to_another_site(gateway, target):
    form = httpx.get(f"{gateway.url}/sign-in", params={"back": target}, trust_env=False).text
    assert 'name="target" value="/"' in form
    signed = {"token": gateway.tokens["viewer"], "target": target}
    assert httpx.post(f"{gateway.url}/sign-in", data=signed, trust_env=False).headers["location"] == "/"


def test_a_wrong_token_and_the_end_of_a_session(gateway):
    answer = httpx.post(f"{gateway.url}/sign-in", data={"token": "guess"}, trust_env=False)
    assert answer.status_code == 401
    assert "This token is not known" in answer.text
    visitor = Visitor(gateway, "viewer")
    assert visitor.post("/sign-out").status_code == 303
    assert visitor.http.get("/").headers["location"].startswith("/sign-in")


def test_a_photo_without_script(visitor, shelf):
    page = visitor.page(shelf)
    words = text_of(page)
    assert "1 facing missing in 1 place" in words
    assert "Tier 2, place 3: 1 facing missing" in words
    assert "Main Street, bay 7" in words
    assert len(re.findall(r"<rect ", page)) == 1
    assert "23 products" in words
    for source in re.findall(r'<img[^>]* src="([^"]+)"', page):
        assert visitor.http.get(html.unescape(source)).headers["content-type"].startswith("image/")


def test_many_photos_without_script_and_without_a_queue(visitor):
    answer = visitor.check(shelf_photo(), shelf_photo(frozenset()), store="Several")
    assert (answer.status_code, answer.headers["location"]) == (303, "/#latest")
    words = text_of(visitor.page("/history?store=Several"))
    assert "Nothing is missing" in words
    assert "1 facing missing in 1 place" in words


def test_the_script_is_told_in_json(visitor):
    files = {"photos": ("a.png", shelf_photo(), "image/png")}
    headers = {"Accept": "application/json", "Idempotency-Key": "k1"}
    fields = {"csrf": visitor.csrf, "task": "shelves"}
    first, again = (
        visitor.http.post("/check", data=fields, files=files, headers=headers).json() for _ in range(2)
    )
    assert [photo["state"] for photo in first["photos"]] == ["done"]
    assert again == first
    (photo,) = first["photos"]
    row = visitor.page(f"/photos/{photo['id']}/row")
    assert row.strip().startswith("<li")
    refused = visitor.http.post(
        "/check", data=fields, files={"photos": ("a.png", b"no", "image/png")}, headers=headers
    )
    assert refused.status_code == 415
    assert "JPEG, PNG or WebP" in refused.json()["error"]
    headers["Idempotency-Key"] = "x" * 201
    refused = visitor.http.post("/check", data=fields, files=files, headers=headers)
    assert refused.status_code == 400
    assert "idempotency-key" in refused.json()["error"]


def test_a_form_that_is_not_ours(gateway, visitor):
    before = visitor.page("/jobs")
    for fields in ({}, {"csrf": "0" * 64}):
        answer = visitor.http.post(
            "/check", data={**fields, "task": "shelves"}, files={"photos": ("a.png", shelf_photo())}
        )
        assert answer.status_code == 403
        assert "load the page again" in answer.text
        assert visitor.http.post("/sign-out", data=fields).status_code == 403
    assert visitor.page("/jobs") == before
    for path in ("/sign-in", "/theme"):
        answer = httpx.post(f"{gateway.url}{path}", headers={"Sec-Fetch-Site": "cross-site"}, trust_env=False)
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("photos", "fields", "status", "words"),
    [
        ([b"no photo"], {}, 415, "not a JPEG, PNG or WebP"),
        ([b"no photo", b"nor this"], {}, 400, "2 files could not be taken"),
        ([b""], {}, 415, "photo.png: 0 bytes"),
        ([shelf_photo()], {"task": "cats"}, 400, "task"),
        ([shelf_photo()], {"store": "x" * 101}, 400, "store"),
        ([grey_photo(50)], {"task": "bins", "expected_quantity": "-1"}, 400, "expected_quantity"),
    ],
)
def test_what_cannot_be_taken_is_said_in_words(visitor, photos, fields, status, words):
    answer = visitor.check(*photos, **fields)
    assert answer.status_code == status
    assert words.lower() in text_of(answer.text).lower()
    assert "<h1>" in answer.text


def test_a_form_without_a_photo(visitor):
    nothing = {"photos": ("", b"", "application/octet-stream")}  # what a browser sends
    answer = visitor.http.post("/check", data={"csrf": visitor.csrf, "task": "shelves"}, files=nothing)
    assert answer.status_code == 400
    assert "No photo was chosen" in answer.text


def test_names_are_shown_and_never_run(gateway, visitor):
    path = visitor.checked(shelf_photo(frozenset({(3, 3)})), name=f"{EVIL}.png", store=EVIL, bay=EVIL)
    asked = httpx.QueryParams({"store": EVIL, "bay": EVIL})
    job = re.search(r'href="(/jobs/\w+)"', visitor.page(path))[1]
    for shown in (path, "/", "/bays", "/jobs", job, f"/bay?{asked}", f"/history?{asked}", f"/alerts?{asked}"):
        page = visitor.page(shown)
        assert EVIL not in page
        assert "<img src=x" not in page
        assert "<script>alert" not in page
    assert EVIL in html.unescape(visitor.page(path))
    assert visitor.http.get("/bay", params=asked).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_nothing_runs_that_is_not_a_file_of_ours(visitor, shelf, path):
    answer = visitor.http.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    tags = tags_of(answer.text)
    assert "style" not in {name for name, _ in tags}
    assert all(found["src"].startswith("/static/") for name, found in tags if name == "script")
    for _, found in tags:
        assert not [name for name in found if name == "style" or name.startswith("on")]
        assert all(found.get(name, "/").startswith(("/", "#")) for name in ("src", "href", "action"))


def test_a_bin_is_verified_and_counted_by_hand(visitor):
    wrong = visitor.checked(grey_photo(150), task="bins", store="dc", bay="B 1", expected_quantity="1")
    right = visitor.checked(grey_photo(100), task="bins", store="dc", bay="B 2", expected_quantity="2")
    words = text_of(visitor.page(wrong))
    assert "The record says 1, the photo shows 3" in words
    assert "dc, bin B 1" in words
    assert "The record is right" in text_of(visitor.page(right))
    assert wrong in visitor.page("/bins")
    assert right not in visitor.page("/bins").partition('id="doubted"')[2].partition("</section>")[0]
    kept = visitor.post(f"{wrong}/feedback", verdict="count", count="3", back="count")
    assert (kept.status_code, kept.headers["location"]) == (303, f"{wrong}#count")
    assert "operator counted 3 items" in text_of(visitor.page(wrong))
    assert wrong not in visitor.page("/bins").partition('id="doubted"')[2].partition("</section>")[0]


def test_feedback_on_a_void(visitor):
    path = visitor.checked(shelf_photo(frozenset({(5, 3)})))
    kept = visitor.post(f"{path}/feedback", verdict="not_a_void", void="0", back="void-1")
    assert kept.headers["location"] == f"{path}#void-1"
    assert "You said: this is not an empty place" in text_of(visitor.page(path))
    visitor.post(f"{path}/feedback", verdict="void", void="0", back="void-1")
    assert "You said: it is empty" in text_of(visitor.page(path))
    assert visitor.post(f"{path}/feedback", verdict="void", void="7", back="").status_code == 400
    assert visitor.http.post(f"{path}/feedback", data={"verdict": "void", "void": "0"}).status_code == 403


def test_a_place_that_was_missed(gateway, visitor):
    path = visitor.checked(shelf_photo(frozenset({(6, 6)})), store="Missed")
    sides = {"left": "12.5", "right": "25", "top": "50", "bottom": "75"}
    kept = visitor.post(f"{path}/missed", **sides)
    assert (kept.status_code, kept.headers["location"]) == (303, f"{path}#missed")
    with gateway.client("viewer") as client:
        (said,) = client.get(f"/api{path}/feedback").json()["items"]
        width, height = (client.get(f"/api{path}").json()[name] for name in ("width", "height"))
    assert (said["verdict"], said["by"]) == ("missed", "operator")
    assert said["box"] == [width / 8, height / 2, width / 4, 3 * height / 4]
    page = visitor.page(path)
    assert "12 to 25 % from the left, 50 to 75 % from the top. Marked by operator" in text_of(page)
    seen = Visitor(gateway, "viewer").page(path)
    assert "Marked by operator" in text_of(seen)
    assert "<form" not in seen.partition('id="missed"')[2].partition("</section>")[0]
    back = re.search(r'action="([^"]+/take-back)"', page)[1]
    assert Visitor(gateway, "viewer").post(back).status_code == 403
    other = visitor.checked(shelf_photo(frozenset({(6, 5)})))
    assert visitor.post(back.replace(path, other)).status_code == 404
    assert visitor.post(back).headers["location"] == f"{path}#missed"
    assert "Marked by" not in visitor.page(path)
    assert visitor.post(back).status_code == 404


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"left": "30"}, "right has to be more than left"),
        ({"top": "80"}, "bottom more than top"),
        ({"right": "101"}, "right: Input should be less than or equal to 100"),
        ({"bottom": "nan"}, "bottom: Input should be a finite number"),
        ({"left": ""}, "left: Input should be a valid number"),
        ({"left": "24.9"}, "px within the photo"),
        ({"more": "1"}, "more: Extra inputs"),
    ],
)
def test_a_place_that_is_none(visitor, shelf, changed, words):
    sides = {"left": "12.5", "right": "25", "top": "50", "bottom": "75", **changed}
    answer = visitor.post(f"{shelf}/missed", **sides)
    assert answer.status_code == 400
    assert words.lower() in text_of(answer.text).lower()
    assert "Marked by" not in visitor.page(shelf)


def test_a_place_at_the_edge(visitor):
    shelf = Image.open(io.BytesIO(shelf_photo())).crop((0, 0, 110, 110))
    encoded = io.BytesIO()
    shelf.save(encoded, "PNG")
    path = visitor.checked(encoded.getvalue())
    kept = visitor.post(f"{path}/missed", left="0", right="100", top="0", bottom="100")
    assert (kept.status_code, kept.headers["location"]) == (303, f"{path}#missed")
    whole = Sides(left=0, right=100, top=0, bottom=100)
    for size in range(1, 10_001):
        assert whole.box(Photo(width=size, height=size)) == (0, 0, size, size)


@pytest.mark.parametrize("page", ["/history", "/alerts", "/bays", "/bins", "/jobs"])
def test_a_cursor_that_nobody_gave_out(visitor, page):
    for depth in (800, 5000):
        cursor = base64.urlsafe_b64encode(b"[" * depth).decode()
        answer = visitor.http.get(page, params={"cursor": cursor})
        assert answer.status_code == 400
        assert "Cursor: " in text_of(answer.text)


def test_who_may_mark_a_place(gateway, visitor, shelf):
    sides = {"left": "1", "right": "9", "top": "1", "bottom": "9"}
    assert visitor.http.post(f"{shelf}/missed", data=sides).status_code == 403
    assert Visitor(gateway, "viewer").post(f"{shelf}/missed", **sides).status_code == 403
    limited = Visitor(gateway, token=gateway.token("abroad", Role.OPERATOR, ["Abroad"]))
    assert limited.post(f"{shelf}/missed", **sides).status_code == 404
    counted = visitor.checked(grey_photo(100), task="bins")
    assert visitor.post(f"{counted}/missed", **sides).status_code == 400
    assert "Found by people" not in visitor.page(counted)


def test_a_form_is_one_request(start_gateway):
    visitor = Visitor(start_gateway(requests_per_minute=3))  # who has looked at a page once
    for _ in range(2):
        assert visitor.post("/alerts/none", state="closed").status_code == 404
    assert visitor.post("/alerts/none", state="closed").status_code == 429


def test_an_alert_is_taken_on_put_off_and_dismissed(visitor):
    for minute in range(2):
        photo = shelf_photo(frozenset({(4, 3), (minute, 1)}))
        visitor.checked(photo, store="Alarm", bay="1", taken_at=f"2026-01-02T03:0{minute}:00Z")
    page = visitor.page("/alerts?store=Alarm")
    (path,) = re.findall(r'action="(/alerts/\w+)"', page)
    assert "Tier 2, place 5: 1 facing missing" in text_of(page)
    for state, words in (
        ("acknowledged", "Being refilled"), ("snoozed 1d", "Put off"), ("dismissed", "Not a void"),
    ):  # fmt: skip
        answer = visitor.post(path, state=state, back="/alerts?store=Alarm")
        assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?store=Alarm")
        which = "&which=over" if state == "dismissed" else ""
        assert words in text_of(visitor.page(f"/alerts?store=Alarm{which}"))
    assert visitor.post(path, state="asleep").status_code == 400
    bay = text_of(visitor.page("/bay?store=Alarm&bay=1"))
    assert "On-shelf availability" in bay


def test_who_may_only_look(gateway, shelf):
    viewer = Visitor(gateway, "viewer")
    assert 'action="/check"' not in viewer.page("/")
    assert "feedback" not in viewer.page(shelf)
    assert viewer.check(shelf_photo()).status_code == 403
    assert viewer.post(f"{shelf}/feedback", verdict="void", void="0").status_code == 403


def test_other_stores_are_not_there(gateway, visitor, shelf):
    limited = Visitor(gateway, token=gateway.token("limited", Role.OPERATOR, ["Elsewhere"]))
    assert "You may not see" in limited.page(shelf, 404) or "you may not see" in limited.page(shelf, 404)
    assert "Main Street" not in limited.page("/history") + limited.page("/bays") + limited.page("/jobs")
    limited.page("/bay?store=Main+Street&bay=7", 404)
    assert limited.check(shelf_photo(), store="Main Street").status_code == 403


def test_the_history_is_filtered_and_goes_on(visitor):
    for day in range(1, 6):
        visitor.checked(grey_photo(100), task="bins", store="pages", taken_at=f"2026-01-0{day}T12:00:00Z")
    page = visitor.page("/history?store=pages&since=2026-01-02&until=2026-01-04")
    assert len(re.findall(r"data-photo=", page)) == 3
    table = re.search(r'href="(/api/photos.csv[^"]*)"', page)[1]
    assert len(visitor.http.get(html.unescape(table)).text.splitlines()) == 4
    assert "No photo is like that" in visitor.page("/history?store=nowhere")
    assert "Cursor" in text_of(visitor.page("/history?cursor=nonsense", 400))
    visitor.page("/history?task=cats", 400)
    visitor.page("/history?verdict=cats", 400)
    visitor.page("/history?limit=3", 400)


def test_a_long_history_has_a_next_page(gateway, visitor):
    for number in range(31):
        add_job(gateway, State.DONE, name=f"{number}.png", store="long")
    page = visitor.page("/history?store=long")
    older = html.unescape(re.search(r'rel="next" href="([^"]+)"', page)[1])
    rest = visitor.page(older)
    seen = re.findall(r'data-photo="(\w+)"', page + rest)
    assert (len(seen), len(set(seen))) == (31, 31)
    assert 'rel="next"' not in rest


def test_a_job_that_is_not_over_is_looked_at_again(gateway, visitor):
    job = add_job(gateway, State.QUEUED)
    for path in (f"/jobs/{job.id}", f"/photos/{job.photos[0].id}"):
        assert '<noscript><meta http-equiv="refresh"' in visitor.page(path)
    assert "0 of 1 photo is answered" in text_of(visitor.page(f"/jobs/{job.id}"))


def test_a_job_of_many_photos_comes_page_by_page(gateway, visitor):
    job = add_job(gateway, State.DONE, name="0.png", store="many")
    about = {"job_id": job.id, "task": Task.SHELVES, "sha256": "0" * 64, "size": 1, "format": "png"}
    with gateway.gateway.records.write() as session:
        session.add_all(
            Photo(**about, width=8, height=8, place=place, state=State.DONE) for place in range(1, 130)
        )
    seen, path = [], f"/jobs/{job.id}"
    for words in ("Photos 1 to 60 of 130", "Photos 61 to 120 of 130", "Photos 121 to 130 of 130"):
        page = visitor.page(path)
        assert words in text_of(page)
        shown = re.findall(r'data-photo="(\w+)"', page)
        assert 0 < len(shown) <= 60
        seen += shown
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = html.unescape(following[1]) if following else ""
    assert path == ""
    assert len(set(seen)) == len(seen) == 130
    assert 'rel="prev"' in page
    visitor.page(f"/jobs/{job.id}?begin=-1", 400)
    limited = Visitor(gateway, token=gateway.token("elsewhere", Role.VIEWER, ["Elsewhere"]))
    limited.page(f"/jobs/{job.id}", 404)


def test_the_alerts_page_reads_no_availability(gateway, visitor):
    asked = []

    def hear(_connection, _cursor, statement, *_):
        asked.append(statement)

    event.listen(gateway.gateway.records.engine, "before_cursor_execute", hear)
    visitor.page("/alerts")
    event.remove(gateway.gateway.records.engine, "before_cursor_execute", hear)
    assert asked
    assert not [statement for statement in asked if "osa" in statement]


def test_dead_photos_are_an_administrators(gateway, visitor):
    job = add_job(gateway, State.DEAD, error="shelf-detector cannot be reached", attempts=5)
    assert "Ask an administrator" in visitor.page(f"/jobs/{job.id}")
    assert visitor.post(f"/jobs/{job.id}/retry").status_code == 403
    admin = Visitor(gateway, "admin")
    assert "Try it again" in admin.page(f"/jobs/{job.id}")
    refused = admin.post(f"/jobs/{job.id}/retry")
    assert refused.status_code == 503
    assert "has no queue" in text_of(refused.text)


def test_colours_are_chosen(visitor, gateway):
    for theme in ("dark", "light", ""):
        chosen = visitor.http.post("/theme", data={"theme": theme, "back": "/bins"})
        assert chosen.headers["location"] == "/bins"
        assert (f'data-theme="{theme}"' in visitor.page("/")) == bool(theme)
    visitor.http.post("/theme", data={"theme": '"><script>'})
    assert "data-theme" not in visitor.page("/")


def test_a_fault_of_ours_is_a_page_that_tells_nothing(gateway, visitor):
    job = add_job(gateway, State.DONE, report={"voids": [{"secret": 1}]})
    page = visitor.page(f"/photos/{job.photos[0].id}", 500)
    assert "Something went wrong here" in page
    assert "secret" not in page


def test_no_page_has_this_address(visitor):
    assert "No page has this address" in visitor.page("/nowhere", 404)
    visitor.page("/photos/nothing", 404)
    assert "no day on which" in visitor.page("/history?until=9999-12-31", 400)
    assert visitor.http.get("/static/../pages.py").status_code == 404
    assert visitor.http.get("/static/style.css").headers["cache-control"] == "no-cache"

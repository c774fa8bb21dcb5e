"""The pages in a real browser: with script and without, by hand, by keyboard, in all colours and sizes."""

import re

import pytest
from playwright.sync_api import expect

from stocktake.images import encode_jpeg
from tests.drawn_shelves import draw
from tests.gateway_browser import DESK, PHONE, WAIT_MS, Watched, open_browser, overflow, violations
from tests.gateway_pages import Visitor
from tests.gateway_thread import grey_photo, shelf_photo

FIRST_PAGE_BYTES = 100_000
EVIL = """<script>document.title = "run"</script>'"><img src=x onerror="document.title = 'run'">"""
SMALL_TARGETS = """
    [...document.querySelectorAll("button, .button, select, .choices label, .check, .pages a, summary")]
        .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 44)
        .map((node) => node.outerHTML)
"""

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def watch(browser, gateway):
    """Opens pages of a browser, and asserts at the end that nobody complained."""
    opened = []

    def open_page(**options) -> Watched:
        opened.append(Watched(browser, gateway.url, **options))
        return opened[-1]

    yield open_page
    for each in opened:
        each.close()


def photo_file(name: str, data: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def test_photos_are_sent_and_seen(watch, gateway):
    watched = watch()
    page = watched.sign_in(gateway.tokens["operator"])
    page.get_by_label("Store").fill(EVIL)
    page.get_by_label("Bay").fill("9")
    files = [photo_file("full.png", shelf_photo(frozenset())), photo_file("gap.png", shelf_photo())]
    page.get_by_label("Choose photos").set_input_files(files)
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_role("status")).to_have_text("All 2 photos are answered.")
    results = page.get_by_role("region", name="Your photos").get_by_role("listitem")
    expect(results).to_have_count(2)
    expect(results.nth(0)).to_contain_text("Nothing is missing")
    expect(results.nth(1)).to_contain_text("1 facing missing in 1 place")
    results.nth(1).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{EVIL}, bay 9")
    assert page.title() != "run"
    voids, products = page.locator(".void"), page.locator(".products")
    expect(voids).to_be_visible()
    expect(products).to_be_hidden()
    page.get_by_label("1 place").uncheck()
    page.get_by_label("23 products").check()
    expect(voids).to_be_hidden()
    expect(products).to_be_visible()
    width = page.locator(".stage").bounding_box()["width"]
    page.get_by_role("radio", name="2×").focus()
    page.keyboard.press("Space")
    assert page.locator(".stage").bounding_box()["width"] == pytest.approx(2 * width, abs=2)
    page.get_by_role("button", name=re.compile("^Not a void")).click()
    expect(page.get_by_text("You said: this is not an empty place")).to_be_visible()
    assert overflow(page) == 0


def test_without_script(watch, gateway):
    page = watch(java_script_enabled=False).sign_in(gateway.tokens["operator"])
    page.get_by_label("A bin").check()
    expect(page.get_by_label("Items on record")).to_be_visible()
    page.get_by_label("Items on record").fill("2")
    page.get_by_label("Choose photos").set_input_files([photo_file("bin.png", grey_photo(100))])
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_text("The record is right", exact=True)).to_be_visible()
    expect(page.get_by_text("The record says 2, the photo shows 2")).to_be_visible()


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "finger"])
def test_a_missed_place_is_drawn_on_the_photo(watch, gateway, touch):
    path = Visitor(gateway).checked(shelf_photo(frozenset({(3, 5 + touch)})))
    page = watch(has_touch=touch).sign_in(gateway.tokens["operator"])
    page.goto(path)
    page.get_by_text("Mark an empty place that was missed").click()
    page.get_by_role("button", name="Draw it on the photo").click()
    photo = page.locator(".stage").bounding_box()
    x, y = (
        (lambda share: photo["x"] + share * photo["width"]),
        lambda share: photo["y"] + share * photo["height"],
    )
    if touch:
        hand = page.context.new_cdp_session(page)
        for kind, place in (
            ("Start", (0.25, 0.75)),
            ("Move", (0.4, 0.6)),
            ("Move", (0.5, 0.5)),
            ("End", None),
        ):
            points = [{"x": x(place[0]), "y": y(place[1])}] if place else []
            hand.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    else:
        page.mouse.move(x(0.5), y(0.5))
        page.mouse.down()
        page.mouse.move(x(0.3), y(0.7))
        page.mouse.move(x(0.25), y(0.75))
        page.mouse.up()
    expect(page.get_by_role("button", name="Keep this place")).to_be_focused()
    sides = {"Left side": 25, "Right side": 50, "Upper side": 50, "Lower side": 75}
    for label, share in sides.items():
        assert float(page.get_by_label(label).input_value()) == pytest.approx(share, abs=1)
    drawn = page.locator(".draft").bounding_box()
    assert drawn["width"] == pytest.approx(photo["width"] / 4, abs=6)
    assert overflow(page) == 0
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("Marked by operator"))).to_be_visible()
    expect(page.locator(".missed rect")).to_be_visible()
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text(re.compile("Marked by operator"))).to_have_count(0)


def test_a_missed_place_by_keyboard_and_without_script(watch, gateway):
    path = Visitor(gateway).checked(shelf_photo(frozenset({(3, 4)})))
    for script in (True, False):
        page = watch(java_script_enabled=script).sign_in(gateway.tokens["operator"])
        page.goto(path)
        page.get_by_text("Mark an empty place that was missed").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Draw it on the photo")).to_have_count(int(script))
        page.get_by_label("Left side").focus()
        for share in ("10", "20.5", "30", "40"):
            page.keyboard.type(share)
            page.keyboard.press("Tab")
        if script:
            expect(page.locator(".draft")).to_be_visible()
        page.keyboard.press("Enter")
        said = page.get_by_text("10 to 20 % from the left, 30 to 40 % from the top", exact=False)
        expect(said).to_have_count(1)  # the second time on the same place is the same word
        expect(said).to_be_visible()


def test_what_is_refused_is_said_beside_the_file(watch, gateway):
    watched = watch()
    page = watched.sign_in(gateway.tokens["operator"])
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_role("status")).to_have_text("Choose a photo first.")
    page.get_by_label("Choose photos").set_input_files([photo_file("notes.png", b"no photo")])
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_role("region", name="Your photos")).to_contain_text("not a JPEG, PNG or WebP")
    assert [said for said in watched.complaints if "415" not in said] == []
    watched.complaints.clear()


def test_the_first_page_is_small(watch, gateway):
    visitor = Visitor(gateway)
    for seed in range(12):
        shelf = draw(seed)
        visitor.checked(encode_jpeg(shelf.photo, shelf.jpeg_quality), store="Main Street", bay=str(seed))
    watched = watch()
    page = watched.sign_in(gateway.tokens["operator"])
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto("/", wait_until="networkidle")
    assert len(sizes) >= 12
    assert sum(sizes) <= FIRST_PAGE_BYTES


@pytest.fixture(scope="module")
def paths(gateway):
    """Pages with something on them, by name."""
    visitor = Visitor(gateway)
    shelf = "/"
    for bay, gaps in (("7", [{(2, 3)}, {(2, 3)}, {(0, 1)}, {(1, 1)}]), ("8", [{(2, 3), (5, 6)}, {(2, 3)}])):
        for minute, missing in enumerate(gaps):
            about = {"store": "Main Street", "bay": bay, "taken_at": f"2026-01-02T03:0{minute}:00Z"}
            shelf = visitor.checked(shelf_photo(frozenset({*missing, (minute, 6)})), **about)
    visitor.checked(shelf_photo(frozenset({(7, 6)})), store="Main Street", bay="8")
    counted = visitor.checked(grey_photo(150), task="bins", store="dc", expected_quantity="1")
    job = re.search(r"/jobs/\w+", visitor.page(shelf))[0]
    visitor.post(f"{shelf}/missed", left="10", right="20", top="30", bottom="40")
    places = (
        "/",
        "/alerts",
        "/alerts?which=over",
        "/bays",
        "/bins",
        "/cameras",
        "/history",
        "/history?store=x",
        "/jobs",
    )
    return [*places, shelf, counted, job, "/bay?store=Main+Street&bay=8", "/sign-in"]


@pytest.mark.long
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_every_page(watch, gateway, paths, scheme, size):
    watched = watch(viewport=size, color_scheme=scheme)
    page, found = watched.sign_in(gateway.tokens["admin"]), []
    for path in paths:
        page.goto(path)
        for each in page.locator("details").all():
            each.evaluate("node => { node.open = true; }")
        found += [(path, violation) for violation in violations(page)]
        if wider := overflow(page):
            found.append((path, f"{wider} px too wide"))
    assert found == []


@pytest.mark.long
def test_targets_are_large_enough_for_thumbs(watch, gateway, paths):
    page = watch().sign_in(gateway.tokens["admin"])
    for path in paths:
        page.goto(path)
        assert (path, page.evaluate(SMALL_TARGETS)) == (path, [])


@pytest.mark.long
def test_the_keyboard_reaches_everything(watch, gateway, paths):
    page = watch().sign_in(gateway.tokens["operator"])
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    wanted = page.locator("main :is(a, button, input, summary):visible").count()
    seen = set()
    for _ in range(wanted + 10):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.outerHTML"))
    for name in ('name="task"', 'name="store"', 'name="bay"', 'type="file"', 'class="main"'):
        assert any(name in html for html in seen), name

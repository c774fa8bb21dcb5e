"""Results that come in a real browser while workers answer: by events, or by asking where there are none."""

import pytest
from playwright.sync_api import expect

from tests.gateway_browser import WAIT_MS, Watched, open_browser
from tests.gateway_site import Site
from tests.gateway_thread import shelf_photo

pytestmark = pytest.mark.long
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    for part in (site.redis, site.predictor, site.gateway, site.worker):
        part.start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def files(count: int) -> list[dict[str, object]]:
    """Shelves with one void each, no two at the same place."""
    gaps = [(1 + number % 6, 3 if number < 6 else 6) for number in range(count)]
    photos = [shelf_photo(frozenset({gap})) for gap in gaps]
    return [{"name": f"{n}.png", "mimeType": "image/png", "buffer": data} for n, data in enumerate(photos)]


@pytest.mark.parametrize("has_events", [True, False])
def test_results_come_by_themselves(browser, site, has_events):
    watched = Watched(browser, site.url)
    page = watched.sign_in(site.token)
    if not has_events:
        page.route("**/events", lambda route: route.fulfill(status=404))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Choose photos").set_input_files(files(10))  # more than are sent at a time
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_role("status")).to_have_text("All 10 photos are answered.")
    results = page.get_by_role("region", name="Your photos").get_by_role("listitem")
    expect(results.filter(has_text="1 facing missing in 1 place")).to_have_count(10)
    assert len([url for url in asked if url.endswith("/check")]) == 2
    assert any("/events" in url for url in asked)
    assert any(url.rpartition("/")[0].endswith("/api/jobs") for url in asked) != has_events
    if not has_events:
        watched.complaints.clear()
    watched.close()


def test_a_job_page_fills_while_one_watches(browser, site):
    watched = Watched(browser, site.url, java_script_enabled=False)
    page = watched.sign_in(site.token)
    site.worker.kill()
    page.get_by_label("Choose photos").set_input_files(files(4))
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_text("0 of 4 photos are answered.")).to_be_visible()
    live = Watched(browser, site.url)
    live.sign_in(site.token)
    live.page.goto(f"{page.url}?begin=1")  # the first photo counts, and is not on this page
    expect(live.page.get_by_role("status")).to_have_text("0 of 4 photos are answered.")
    site.worker.start()
    for each, count in ((page, 4), (live.page, 3)):  # by asking again every few seconds, and by events
        expect(each.get_by_text("All answered")).to_be_visible()
        expect(each.get_by_text("1 facing missing in 1 place")).to_have_count(count)
    watched.close()
    live.close()

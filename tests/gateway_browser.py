"""The Chromium of the system, and what must never happen on a page."""

from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.programs import need

WAIT_MS = 60_000
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}


@contextmanager
def open_browser() -> Iterator[Browser]:
    binary = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"], timeout=180_000)
        yield browser
        browser.close()


class Watched:
    """A page of a browser whose complaints are kept: of scripts, of the policy, of what is not found."""

    def __init__(self, browser: Browser, url: str, **options: object):
        self._context = browser.new_context(base_url=url, locale="en-GB", **{"viewport": PHONE, **options})
        self._context.set_default_timeout(WAIT_MS)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def sign_in(self, token: str) -> Page:
        self.page.goto("/sign-in")
        self.page.get_by_label("Your token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", level=1, name="Check shelves and bins").wait_for()
        self.page.wait_for_load_state()  # a click before its scripts run sends the form without them
        return self.page

    def close(self) -> None:
        self._context.close()
        assert self.complaints == []

    def _hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def violations(page: Page) -> list[str]:
    """What axe has against a page."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def overflow(page: Page) -> int:
    """px by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

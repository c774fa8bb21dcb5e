"""Somebody who looks at the pages without a browser: a session's cookies, and the token of its forms."""

import re

import httpx

from tests.gateway_thread import GatewayThread

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Visitor:
    """Signed in with a token; follows no redirect by itself."""

    def __init__(self, gateway: GatewayThread, role: str = "operator", token: str | None = None):
        self.http = httpx.Client(base_url=gateway.url, timeout=60, trust_env=False)
        answer = self.http.post("/sign-in", data={"token": token or gateway.tokens[role], "target": "/"})
        assert answer.status_code == 303, answer.text
        self.csrf = re.search(r'name="csrf" value="(\w+)"', self.page("/"))[1]

    def page(self, path: str, status: int = 200) -> str:
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.http.post(path, data={"csrf": self.csrf, **fields})

    def check(self, *photos: bytes, name: str = "photo.png", **fields: str) -> httpx.Response:
        """Hand photos in, as the form does."""
        files = [("photos", (name, photo, "image/png")) for photo in photos]
        return self.http.post("/check", data={"csrf": self.csrf, "task": "shelves", **fields}, files=files)

    def checked(self, photo: bytes, **fields: str) -> str:
        """The path of the page of a photo that is handed in."""
        answer = self.check(photo, **fields)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

"""Whose photos come in now: a place for each request that brings some, and the bytes that it may hold."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from serving.gateway.errors import Overloaded
from serving.gateway.settings import GatewaySettings
from serving.gateway.submission import media_type

IN_HAND = 2  # photos of a form that are in memory: the one that comes, and the one before


class Admission:
    """Places and bytes of all requests with photos, of which no token gets more than half; it may have one
    request always. Belongs to one event loop.
    """

    def __init__(self, places: int, max_bytes: int):
        self._most_places, self._most_bytes = places, max_bytes
        self._places: Counter[str] = Counter()  # by the name of the token, so there are few
        self._bytes: Counter[str] = Counter()

    @contextmanager
    def place(self, name: str, size: int) -> Iterator[None]:
        """A place for a request of a token that holds up to `size` bytes at a time.

        Raises:
            Overloaded: there is none; not a byte has to be read for that.
        """
        self._check(name, size)
        self._places[name] += 1
        self._bytes[name] += size
        try:
            yield
        finally:
            self._places[name] -= 1
            self._bytes[name] -= size

    def _check(self, name: str, size: int) -> None:
        places, held = self._places[name], self._bytes[name]
        if places and (places >= self._most_places // 2 or held + size > self._most_bytes // 2):
            raise Overloaded("this token sends too many photos at once; wait for an answer, then go on", 1)
        if self._places.total() >= self._most_places or self._bytes.total() + size > self._most_bytes:
            raise Overloaded("too many photos come in at once; send this one again", 1)


def bytes_of(request: Request, settings: GatewaySettings, by_url: int) -> int:
    """The most bytes of photos that a request holds at a time: `by_url` photos where they are fetched, else
    what it announces, and no more than the photos that are in hand.
    """
    if media_type(request) == "application/json":
        return by_url * settings.max_photo_bytes
    announced, most = request.headers.get("content-length", ""), IN_HAND * settings.max_photo_bytes
    is_number = announced.isascii() and announced.isdigit()
    return min(int(announced[:20]), most) if is_number else most

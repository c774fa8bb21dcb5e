"""Requests to servers outside: allowed ones only, and never, by whatever name, to an address of our own network.

An entry of an allow list is `HOST` or `HOST:PORT`; the port is 443 where none is named. A host that is an
address, or that is written `private:HOST`, may be in our own network, and is asked over http, too (port 80).
Names are resolved once for each connection, and the address that was checked is the one that is connected to.
No redirect is followed, no proxy is used.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpcore

from serving.gateway.errors import DeadlineExceeded, Unavailable
from stocktake.errors import BadRequest, SettingsError

PORTS = {"https": 443, "http": 80}
MAX_URL = 2000
PRIVATE = "private:"

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Place:
    """A host as the URLs name it, and the port that is asked there, None for the scheme's own."""

    host: str
    port: int | None


class Outside:
    """Who may be asked; belongs to one event loop."""

    def __init__(self, hosts: Iterable[str], variable: str):
        """`hosts`: the allow list; `variable`: whose value it is.

        Raises:
            SettingsError: an entry is none.
        """
        self._variable = variable
        self._places: dict[Place, bool] = {}  # whether it may be in our own network
        for entry in hosts:
            place, private = _parse(entry, variable)
            self._places[place] = private
        self._http = httpcore.AsyncConnectionPool(network_backend=_Checked(self), max_connections=20)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def check(self, url: str) -> None:
        """Raise BadRequest where a URL may not be asked; in words that do not repeat it."""
        try:
            parts = urlsplit(url)
            place, port = Place(parts.hostname or "", parts.port), parts.port
        except ValueError:
            raise BadRequest("url: it is no URL") from None
        if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise BadRequest(f"url: at most {MAX_URL} printable ASCII characters")
        if parts.scheme not in PORTS or parts.username is not None or parts.password is not None:
            raise BadRequest("url: it has to be https://HOST/…, without user and password")
        if port == PORTS[parts.scheme]:
            place = Place(place.host, None)
        private = self._places.get(place)
        if private is None:
            raise BadRequest(f"url: its host is not allowed; an operator can add it to {self._variable}")
        if parts.scheme == "http" and not private:
            raise BadRequest("url: it has to be https")

    def may_be_private(self, host: str, port: int) -> bool:
        """Whether a connection may stay in our own network."""
        named = self._places.get(Place(host, port), False)
        return named or (port in PORTS.values() and self._places.get(Place(host, None), False))

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: dict[str, str], content: bytes = b"", timeout_s: float = 10.0
    ) -> AsyncIterator[httpcore.Response]:
        """Ask, and give the answer as it begins: its body is not read yet.

        `timeout_s`: for all of it, what the caller reads included.

        Raises:
            BadRequest: see `check`; also where the name leads into our own network.
            DeadlineExceeded, Unavailable: it did not answer.
        """
        self.check(url)
        timeout = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)}
        try:
            with anyio.fail_after(timeout_s):
                async with self._http.stream(
                    method, url, headers=headers, content=content, extensions=timeout
                ) as response:
                    yield response
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise DeadlineExceeded(f"{urlsplit(url).hostname} did not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise Unavailable(
                f"{urlsplit(url).hostname} cannot be reached: {type(error).__name__}"
            ) from error


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at."""

    def __init__(self, outside: Outside):
        self._outside, self._inner = outside, httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **more: Any
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout):
                found = await anyio.getaddrinfo(host, port, proto=6)
        except (OSError, TimeoutError) as error:
            raise httpcore.ConnectError(f"no address of {host}") from error
        addresses = [ip_address(entry[4][0]) for entry in found]
        if not self._outside.may_be_private(host, port) and not all(map(_is_public, addresses)):
            raise BadRequest(f"url: {host} has an address in a private network")
        return await self._inner.connect_tcp(str(addresses[0]), port, timeout, *args, **more)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def _is_public(address: Address) -> bool:
    """Also not by way of IPv6, which has several forms for an IPv4 address."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _parse(entry: str, variable: str) -> tuple[Place, bool]:
    named = entry.removeprefix(PRIVATE)
    try:
        parts = urlsplit(f"//{named}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.netloc != named:
        raise SettingsError(f"{variable}: {entry!r} is neither HOST nor HOST:PORT nor private:HOST")
    return Place(host, port), named != entry or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""Requests that the gateway makes for others: to hosts that are allowed, and to nothing behind them.

A name is resolved once and the address that was looked at is the one that is asked, so a name that changes
its address in between gains nothing. Redirects are not followed, proxies of the environment not used.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from serving.gateway.settings import GatewaySettings
from stocktake.errors import BadRequest, PhotoTooLarge

FETCH_S = 20.0  # from the first byte of the request to the last of the answer
NAT64 = ipaddress.ip_network("64:ff9b::/32")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: an address instead of the name, which goes along for HTTP and TLS."""

    url: httpx.URL
    headers: dict[str, str]
    extensions: dict[str, Any]


def check_url(url: str, hosts: frozenset[str], field: str) -> httpx.URL:
    """The URL itself, if its host is one of `hosts`, which are names with or without a port.

    Raises:
        BadRequest: it is not.
    """
    try:
        parsed = httpx.URL(url)
        host = parsed.host.lower().rstrip(".")  # decodes punycode only now
    except (httpx.InvalidURL, ValueError):
        raise BadRequest(f"{field}: is no URL") from None
    if parsed.scheme not in ("http", "https") or not host or parsed.userinfo or parsed.fragment:
        raise BadRequest(f"{field}: give http(s)://host/path, without a name or password in it")
    wanted = host if parsed.port is None else f"{host}:{parsed.port}"
    if wanted not in hosts:
        raise BadRequest(f"{field}: its host is not one of those that the gateway may ask")
    return parsed


async def locate(url: httpx.URL, settings: GatewaySettings, field: str) -> Target:
    """Resolve the host of a checked URL.

    Raises:
        BadRequest: it has no address, or one that is not public, and is not in `settings.private_hosts`.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise BadRequest(f"{field}: its host has no address") from None
    addresses = [ipaddress.ip_address(str(place[4][0]).partition("%")[0]) for place in found]
    may_be_private = url.host.lower().rstrip(".") in settings.private_hosts
    if not addresses or not all(_is_open(address, may_be_private) for address in addresses):
        raise BadRequest(f"{field}: its host has an address that the gateway may not ask")
    host, name = url.netloc.decode(), url.raw_host.decode()
    return Target(url.copy_with(host=str(addresses[0])), {"Host": host}, {"sni_hostname": name})


@asynccontextmanager
async def open_client() -> AsyncIterator[httpx.AsyncClient]:
    """A client that does not follow, and keeps nothing from one request to the next."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        follow_redirects=False, trust_env=False, timeout=FETCH_S, limits=limits
    ) as client:
        yield client


async def fetch_photo(url: httpx.URL, settings: GatewaySettings) -> bytes:
    """The photo at a URL that `check_url` let pass, within the limits on size and time.

    Raises:
        BadRequest: it cannot be had; says why, and nothing of what is there.
        PhotoTooLarge: of more bytes than are read.
    """
    try:
        async with asyncio.timeout(FETCH_S):
            return await _fetch(url, settings)
    except TimeoutError:
        raise BadRequest(f"url: its host did not send the photo within {FETCH_S:.0f} s") from None
    except httpx.HTTPError as error:
        raise BadRequest(f"url: its host cannot be asked: {type(error).__name__}") from error


async def _fetch(url: httpx.URL, settings: GatewaySettings) -> bytes:
    target, limit = await locate(url, settings, "url"), settings.max_photo_bytes
    headers = {**target.headers, "Accept": "image/*", "Accept-Encoding": "identity"}
    async with (
        open_client() as client,
        client.stream("GET", target.url, headers=headers, extensions=target.extensions) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise BadRequest(f"url: its host answers {answer.status_code}; redirects are not followed")
        data = bytearray()
        async for block in answer.aiter_raw():
            data += block
            if len(data) > limit:
                raise PhotoTooLarge(f"the photo has more than {limit:,} bytes")
        return bytes(data)


def _is_open(address: Address, may_be_private: bool) -> bool:
    """Whether an address may be asked: a public one, or with leave that of a network of ours."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address in NAT64
    ):
        return False  # an IPv4 address in disguise
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return False
    return address.is_global or (may_be_private and (address.is_private or address.is_loopback))

"""Tar archives read as a stream, from a file or from the web, member by member and never stored."""

import io
import logging
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from stocktake.errors import DataError, StoreError
from stocktake.files import explain_os_error

logger = logging.getLogger(__name__)

BLOCK_BYTES = 256 << 10
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


def read_members(
    source: str,
    wanted: Callable[[str], bool],
    on_progress: Callable[[int, int | None], None],
    max_bytes: int = 512 << 20,
) -> Iterator[tuple[str, bytes | None]]:
    """Yield (path, contents) of each regular file of a tar archive, in its order; None for the unwanted.

    Only one member is in memory at a time. The compression (none, gzip, bzip2, xz) is found out by itself.
    Nothing is written to disk, so member paths can't do harm, but they come as they stand in the archive.

    Args:
        source: a file or an http(s) URL.
        wanted: tells from the path whether a member's contents are asked for.
        max_bytes: of a wanted member.
        on_progress: called with the bytes of the archive read so far and in all (None: not known).

    Raises:
        DataError: there is no such file or page, it is not a whole tar archive, or a member is too large.
        StoreError: the connection was lost for good, or the file can't be read.
    """
    try:
        with (
            _open(source) as stream,
            tarfile.open(fileobj=stream, mode="r|*", bufsize=BLOCK_BYTES) as archive,
        ):
            total = getattr(stream, "total", None)
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # every header is kept otherwise
                if member.isreg():
                    yield member.name, _contents(archive, member, max_bytes) if wanted(member.name) else None
                on_progress(stream.tell(), total)
            on_progress(stream.tell(), total)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{public_url(source)}: not a whole tar archive ({error}); download it again"
        ) from error
    except OSError as error:
        raise StoreError(explain_os_error(error, public_url(source))) from error


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    if member.size > max_bytes:
        raise tarfile.TarError(f"{member.name} has {member.size:,} bytes, at most {max_bytes:,} are read")
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"it ends within {member.name}")
    return data


def _open(source: str) -> Any:
    if source.startswith(("http://", "https://")):
        return HttpStream(source)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"{source}: there is no such archive; check the path")
    return _File(path)


class _File(io.FileIO):
    """A file that knows its length."""

    def __init__(self, path: Path):
        super().__init__(path, "rb")
        self.total = path.stat().st_size


def public_url(source: str) -> str:
    """A URL without its query, which may hold a signature; anything else as it is."""
    return source.partition("?")[0] if source.startswith(("http://", "https://")) else source


def _pool(url: str) -> urllib3.PoolManager:
    """Connections that go through the environment's proxy and leave retries to `HttpStream`."""
    options: dict[str, Any] = {
        "retries": urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
        "timeout": urllib3.Timeout(connect=10, read=60),
    }
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


class HttpStream(io.RawIOBase):
    """The body of a GET request, which outlives lost connections.

    The rest is asked for with a Range; a server without ranges is read from the start again and what is known
    is passed over. A page that changed meanwhile is an error: halves of two archives don't fit together.

    Attributes:
        total: length of the body, None where the server doesn't say.
    """

    def __init__(self, url: str, retries: int = 8):
        super().__init__()
        self.url = public_url(url)
        self._address = url
        self.total: int | None = None
        self._retries = retries
        self._position = 0
        self._validator: str | None = None
        self._http = _pool(url)
        self._response = self._patiently(self._connect)

    def readable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Bytes of the body read so far."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end."""

        def read() -> bytes:
            if self._response is None:
                self._response = self._connect()
            try:
                return self._response.read(None if size < 0 else size)
            except HTTPError:
                self._response.close()
                self._response = None
                raise

        data: bytes = self._patiently(read)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Drop the connection."""
        if not self.closed and getattr(self, "_response", None) is not None:
            self._response.close()
        super().close()

    def _connect(self) -> Any:
        # The encoding is the archive's own: a body that is decoded on the way would have other offsets.
        headers = {"Accept-Encoding": "identity"}
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
            if self._validator:
                headers["If-Range"] = self._validator
        response = self._http.request(
            "GET", self._address, headers=headers, preload_content=False, decode_content=False
        )
        if response.status in (429, 500, 502, 503, 504):
            response.close()
            raise HTTPError(f"status {response.status}")
        if response.status not in (200, 206):
            response.close()
            raise DataError(f"{self.url}: the server answers {response.status}; check the address")
        if self._position == 0:
            self._validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
            length = response.headers.get("Content-Length")
            self.total = int(length) if length else None
        elif response.status == 200:
            self._pass_over(response)
        return response

    def _pass_over(self, response: Any) -> None:
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if validator != self._validator:
            response.close()
            raise DataError(f"{self.url}: it changed while it was read; start again")
        left = self._position
        while left:
            block = response.read(min(left, BLOCK_BYTES))
            if not block:
                raise HTTPError("the body is shorter than before")
            left -= len(block)

    def _patiently(self, request: Callable[[], Any]) -> Any:
        for attempt in range(self._retries + 1):
            try:
                return request()
            except HTTPError as error:
                if attempt == self._retries or (self._position == 0 and attempt == 2):
                    raise StoreError(
                        f"{self.url}: cannot be read ({error}); check the address and the network, then run "
                        "this again: it continues"
                    ) from error
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
                logger.warning(
                    "%s: %s; at byte %d, next try in %.1f s", self.url, error, self._position, pause
                )
                time.sleep(pause)
        raise AssertionError("unreachable")

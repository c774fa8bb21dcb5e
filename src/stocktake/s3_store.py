"""A store in an S3 bucket (MinIO, SeaweedFS, AWS) through the `minio` client."""

import hashlib
import io
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import IamAwsProvider
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from stocktake.errors import StoreError
from stocktake.files import atomic_path, explain_os_error, sha256_file
from stocktake.settings import Settings
from stocktake.storage import ObjectInfo, check_key

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

DIGEST_HEADER = "x-amz-meta-sha256"  # user metadata: lets a rerun skip what is already there
PART_BYTES = 16 << 20  # larger objects go up in parts of this size
BLOCK_BYTES = 1 << 20
PAGE_KEYS = 1000
LONGEST_PAUSE_S = 15.0
CONNECT_S = 10.0  # that a connection takes at most, or the sending of one piece
PIECE_BYTES = 1 << 16  # of a body that is sent
LEAST_RATE = 1e6  # bytes/s at which what is sent passes buffers on its way, before the server can answer
FIRST_CONTACT_RETRIES = 4  # a mistyped endpoint is told in seconds, a server that was there is waited for
KEYLESS_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class S3Store:
    """One object per key below `prefix`.

    The client signs the SHA-256 (over https the MD5) of every upload, so the server refuses damaged bytes;
    downloads are checked against the digest kept with the object. What fails for a passing reason is tried
    again with growing pauses, up to `settings.s3_retries` times.
    """

    def __init__(self, bucket: str, prefix: str, settings: Settings):
        if not bucket:
            raise StoreError("an S3 store needs a bucket: s3://bucket/prefix")
        self.bucket = bucket
        self.prefix = check_key(prefix) + "/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._settings = settings
        self._client = _client(settings)
        self._reached = False

    def put(self, key: str, source: Path | bytes, sha256: str | None = None) -> None:
        """Put an object with its digest as metadata; it shows only when all of it has arrived."""
        name = self._name(key)

        def upload() -> None:
            file: BinaryIO
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                digest = sha256 or hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
                metadata: dict[str, str | list[str] | tuple[str]] = {DIGEST_HEADER: digest}
                self._client.put_object(
                    self.bucket, name, file, size, metadata=metadata, part_size=PART_BYTES
                )

        self._patiently(upload, key)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object, checked against its digest, or a range of them, checked for length."""
        if length == 0:
            return b""
        name = self._name(key)

        def download() -> bytes:
            response = self._client.get_object(self.bucket, name, offset=offset, length=length or 0)
            try:
                data: bytes = response.read()
            finally:
                response.close()
                response.release_conn()
            digest = response.headers.get(DIGEST_HEADER)
            if digest and offset == 0 and length is None and hashlib.sha256(data).hexdigest() != digest:
                raise StoreError(_damaged(self.url(key), digest))
            return data

        return self._patiently(download, key)

    def get_to(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Fetch into a file; after a dropped connection the rest is asked for, not the whole object again."""
        try:
            with atomic_path(path) as part, part.open("wb") as file:
                seen: dict[str, str] = {}
                headers = self._patiently(lambda: self._append(key, file, seen), key)
                file.flush()
                digest = sha256 or headers.get(DIGEST_HEADER)
                if digest and sha256_file(part) != digest:
                    raise StoreError(_damaged(self.url(key), digest))
        except OSError as error:
            raise StoreError(explain_os_error(error, path)) from error

    def stat(self, key: str) -> ObjectInfo | None:
        """Size, and ETag as version."""
        found = self._head(key)
        return ObjectInfo(key, found.size, found.etag, found.last_modified) if found else None

    def holds(self, key: str, size: int, sha256: str) -> bool:
        """Compares the size and the digest that was put with the object."""
        found = self._head(key)
        return bool(found and found.size == size and found.metadata.get(DIGEST_HEADER) == sha256)

    def exists(self, key: str) -> bool:
        """True where a HEAD request finds it."""
        return self._head(key) is not None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects in the order of their keys, a thousand per request."""
        last = None
        while True:
            page = self._patiently(partial(self._list_page, self.prefix + prefix, last), prefix)
            for item in page:
                if not item.is_dir:
                    key = item.object_name.removeprefix(self.prefix)
                    yield ObjectInfo(key, item.size, item.etag, item.last_modified)
            if len(page) < PAGE_KEYS:
                return
            last = page[-1].object_name

    def delete(self, key: str) -> None:
        """Remove the object; where the bucket keeps versions, its latest one."""
        name = self._name(key)
        self._patiently(lambda: self._client.remove_object(self.bucket, name), key)

    def url(self, key: str) -> str:
        """s3://bucket/prefix/key."""
        return f"s3://{self.bucket}/{self._name(key)}"

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _list_page(self, prefix: str, after: str | None) -> tuple[Any, ...]:
        found = self._client.list_objects(self.bucket, prefix, recursive=True, start_after=after)
        return tuple(islice(found, PAGE_KEYS))

    def _head(self, key: str) -> Any | None:
        def head() -> Any | None:
            try:
                return self._client.stat_object(self.bucket, self._name(key))
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise

        return self._patiently(head, key)

    def _append(self, key: str, file: BinaryIO, same: dict[str, str]) -> Any:
        """Read what `file` lacks of the object; returns the response's headers.

        `same` is empty at first and keeps the request header that a later call needs, so that the rest never
        comes from another object that was put under the key meanwhile.
        """
        start = file.tell()
        headers = {**same} if start else {}
        response = self._client.get_object(self.bucket, self._name(key), start, request_headers=headers)
        try:
            same["If-Match"] = response.headers["ETag"]
            for block in response.stream(BLOCK_BYTES):
                file.write(block)
            return response.headers
        finally:
            response.close()
            response.release_conn()

    def _patiently(self, request: Callable[[], Result], key: str) -> Result:
        """Run a request, again after growing pauses while it fails for a reason that may pass."""
        attempt = 0
        while True:
            try:
                result = request()
                self._reached = True
                return result
            except (MinioException, HTTPError) as error:
                retries = self._settings.s3_retries
                if not self._reached:
                    retries = min(retries, FIRST_CONTACT_RETRIES)
                if attempt >= retries or not _may_pass(error):
                    raise StoreError(self._explain(error, key)) from error
                pause = min(LONGEST_PAUSE_S, 0.5 * 2**attempt) * random.uniform(0.75, 1.25)
                attempt += 1
                logger.warning("%s: %s; try %d of %d in %.1f s", self.uri, error, attempt, retries, pause)
                time.sleep(pause)
            except OSError as error:
                raise StoreError(explain_os_error(error, error.filename or self.uri)) from error
            except ValueError as error:  # the client refuses impossible bucket names this way
                raise StoreError(f"{self.uri}: {error}") from error

    def _explain(self, error: Exception, key: str) -> str:
        endpoint = self._settings.s3_endpoint_url
        code = getattr(error, "code", None)
        if code == "NoSuchBucket":
            return (
                f"there is no bucket {self.bucket!r} at {endpoint}; check the name or make it with "
                f"`aws --endpoint-url {endpoint} s3 mb s3://{self.bucket}`"
            )
        if code == "NoSuchKey":
            return f"{self.url(key)}: there is no such object"
        if code == "PreconditionFailed":
            return f"{self.url(key)}: the object was replaced while it was read; run this again"
        if code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return f"{self.uri} at {endpoint}: {code}; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if code in ("XMinioStorageFull", "QuotaExceeded"):
            return f"{self.uri} at {endpoint}: the store is full; free some space there and run this again"
        if isinstance(error, HTTPError):
            return f"{endpoint} does not answer ({error}); check S3_ENDPOINT_URL and the server, run again"
        return f"{self.uri} at {endpoint}: {error}"


class _Connections(urllib3.PoolManager):
    """Gives a body more time, the larger it is: over a slow link it takes longer than a server may be silent.

    Each piece has as long as a connection, where else the whole body would have to be sent in that time.
    """

    def urlopen(self, method: str, url: str, *args: Any, **kw: Any) -> urllib3.BaseHTTPResponse:
        if body := kw.get("body"):
            usual = self.connection_pool_kw["timeout"]
            read = usual.read_timeout + len(body) / LEAST_RATE
            kw |= {
                "body": io.BytesIO(body),
                "timeout": urllib3.Timeout(connect=usual.connect_timeout, read=read),
            }
        return super().urlopen(method, url, *args, **kw)


def _client(settings: Settings) -> Minio:
    """A client that leaves retries to `S3Store`, since it can't repeat the reading of a body itself."""
    parts = urlsplit(settings.s3_endpoint_url)
    secret, token = settings.aws_secret_access_key, settings.aws_session_token
    keyless = not settings.aws_access_key_id and any(os.environ.get(name) for name in KEYLESS_VARIABLES)
    return Minio(
        endpoint=parts.netloc,
        access_key=settings.aws_access_key_id,
        secret_key=secret.get_secret_value() if secret else None,
        session_token=token.get_secret_value() if token else None,
        credentials=IamAwsProvider() if keyless else None,
        region=settings.aws_region,
        secure=parts.scheme == "https",
        http_client=_Connections(
            blocksize=PIECE_BYTES,
            maxsize=max(16, settings.transfer_workers),
            retries=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_S, settings.s3_answer_s), read=settings.s3_answer_s),
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        ),
    )


def _may_pass(error: Exception) -> bool:
    """True for lost connections and for answers that say "not now"."""
    if isinstance(error, S3Error):
        status = error.response.status
        return error.code in ("RequestTimeout", "NoSuchUpload", "IncompleteBody") or status in (
            429,
            500,
            502,
            503,
            504,
        )
    if isinstance(error, ServerError):
        return error.status_code in (429, 500, 502, 503, 504)
    if isinstance(error, InvalidResponseError):
        return error._code in (429, 500, 502, 503, 504)  # kept only under this name
    return isinstance(error, HTTPError)


def _damaged(url: str, digest: str) -> str:
    return (
        f"{url}: its bytes do not have the SHA-256 {digest}; the object was changed or damaged, "
        "upload it again"
    )

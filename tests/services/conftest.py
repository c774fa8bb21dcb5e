"""The S3 server, and buckets in it."""

import secrets
from collections.abc import Iterator

import pytest

from stocktake.storage import Store, open_store
from tests.programs import need
from tests.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(need("minio"), tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, which the environment names too."""
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "STOCKTAKE_S3_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("S3_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new empty bucket."""
    name = f"test-{secrets.token_hex(6)}"
    s3.client().make_bucket(name)
    return name


@pytest.fixture
def store(bucket: str) -> Store:
    return open_store(f"s3://{bucket}/some/prefix")

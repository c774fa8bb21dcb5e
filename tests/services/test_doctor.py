"""The checks of the S3 store and of Redis, as pods are told of them, against real servers."""

import base64
import socketserver
import ssl
import threading

import pytest
import trustme

from stocktake.cluster.api import Cluster
from stocktake.doctor import bucket as checks
from stocktake.doctor import services
from stocktake.doctor.examination import examine
from stocktake.doctor.finding import Status
from stocktake.doctor.site import Site
from tests.ports import free_port
from tests.redis_server import RedisServer


def site_with(endpoints: dict[str, str], key: str = "", secret: str = "") -> Site:
    """What the namespace says, with no need to ask an API for it."""
    site = Site(Cluster(None, "stocktake"))
    site.endpoints = endpoints
    values = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    site.secret = {"data": {name: base64.b64encode(text.encode()).decode() for name, text in values.items()}}
    return site


def look(check, site):
    [(_, finding)] = examine({"check": lambda: check(site)}, 60)
    return finding


@pytest.fixture
def told(bucket):
    """The store's address as pods have it; the environment names the server behind it."""
    return {
        "STOCKTAKE_STORE": f"s3://{bucket}/some/prefix",
        "S3_ENDPOINT_URL": "http://minio.tools.svc:9000",
    }


def test_a_bucket_that_is_there_and_its_key(told, s3, store):
    assert look(checks.store, site_with(told, s3.key, s3.secret)).found.endswith("has no models")
    store.put("models/shelf-detector/a/model.onnx", b"weights")
    assert look(checks.store, site_with(told, s3.key, s3.secret)).found.endswith("has models")


def test_a_bucket_that_is_not_there(told, s3):
    finding = look(checks.store, site_with({**told, "STOCKTAKE_STORE": "s3://nowhere"}, s3.key, s3.secret))
    assert finding.status is Status.FAIL
    assert "there is no bucket 'nowhere'" in finding.found


@pytest.mark.parametrize(("key", "secret"), [(None, "gone"), ("gone", None)])
def test_a_key_that_is_no_longer_good(told, s3, key, secret):
    finding = look(checks.store, site_with(told, key or s3.key, secret or s3.secret))
    assert finding.status is Status.FAIL
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in finding.found


def test_no_key_at_all(told):
    finding = look(checks.store, site_with(told))
    assert finding.status is Status.WARN
    assert "identity" in finding.found


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path, "--requirepass", "a-password")
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_redis(redis, s3):
    answers = site_with({"REDIS_URL": f"redis://127.0.0.1:{redis.port}/0"})
    assert look(services.redis, answers).found.endswith("answers and wants a password")
    other = look(services.redis, site_with({"REDIS_URL": f"redis://127.0.0.1:{s3.port}/0"}))
    assert "not answer as Redis does" in other.found
    nobody = look(services.redis, site_with({"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}))
    assert nobody.status is Status.FAIL
    assert look(services.redis, site_with({"MLFLOW_TRACKING_URI": "http://a"})).status is Status.OK


class Pong(socketserver.StreamRequestHandler):
    """What Redis says to a PING."""

    def handle(self) -> None:
        if self.rfile.readline() == b"PING\r\n":
            self.wfile.write(b"+PONG\r\n")


def test_redis_over_tls(tmp_path, monkeypatch):
    authority = trustme.CA()
    encrypted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("redis.tools.svc").configure_cert(encrypted)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    site = site_with({"REDIS_URL": "rediss://redis.tools.svc:6379/0"})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pong) as server:
        server.handle_error = lambda *_: None  # a client that does not trust it goes away
        server.socket = encrypted.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("REDIS_URL", f"rediss://127.0.0.1:{server.server_address[1]}/0")
        assert "a certificate that is not trusted" in look(services.redis, site).found
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert look(services.redis, site).found == "rediss://redis.tools.svc:6379/0 answers"
        server.shutdown()


def test_prometheus_that_does_not_answer_as_it_should(s3):
    told = {"PROMETHEUS_URL": "http://prometheus.monitoring.svc:9090"}
    assert "port-forward svc/prometheus 9090" in look(services.prometheus, site_with(told)).found
    there = look(services.prometheus, site_with({"PROMETHEUS_URL": s3.url}))
    assert there.status is Status.FAIL

import secrets

import pytest

from serving.gateway.records.database import Records
from tests import tiny_counter
from tests.gateway_site import Process
from tests.gateway_thread import GatewayThread
from tests.ports import free_ports
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer
from tests.tiny_model import write_model_dir


@pytest.fixture(scope="session")
def predictor_url(tmp_path_factory):
    """A predictor of both tasks."""
    folder = tmp_path_factory.mktemp("predictor")
    http, grpc = free_ports(2)
    models = {
        "shelf-detector": write_model_dir(folder / "shelves"),
        "bin-counter": tiny_counter.write_model_dir(folder / "bins"),
    }
    named = [f"--model={name}={model_dir}" for name, model_dir in models.items()]
    ports = [f"--http_port={http}", f"--grpc_port={grpc}", "--drain_seconds=0"]
    url = f"http://127.0.0.1:{http}"
    process = Process(
        folder, "predictor", ["serving.predictors", *named, *ports], {}, f"{url}/v2/health/ready"
    )
    process.start()
    yield url
    process.terminate()


@pytest.fixture
def start_gateway(tmp_path, predictor_url):
    """Starts gateways without a queue; settings by field."""
    started = []

    def start(**settings):
        folder = tmp_path / f"gateway{len(started)}"
        folder.mkdir()
        places = {"shelves_url": predictor_url, "bins_url": predictor_url}
        started.append(GatewayThread(folder, **{**places, **settings}))
        return started[-1].start()

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, predictor_url):
    """One without a queue, for all tests of a module."""
    folder = tmp_path_factory.mktemp("gateway")
    gateway = GatewayThread(folder, shelves_url=predictor_url, bins_url=predictor_url).start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def postgres():
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server_url(postgres):
    """URL of an empty database of a PostgreSQL."""
    name = f"records_{secrets.token_hex(4)}"
    postgres.connect().cursor().execute(f"create database {name}")
    return f"postgresql+psycopg://mlflow:{postgres.password}@127.0.0.1:{postgres.port}/{name}"


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    return request.getfixturevalue("server_url") + "?connect_timeout=60"  # of a busy machine


@pytest.fixture
def records(database):
    """Of each kind of database, with their tables."""
    records = Records(database)
    records.migrate()
    yield records
    records.close()

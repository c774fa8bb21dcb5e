import shutil

import pytest

from tests.registry_data import write_model
from tests.sku110k_set import make_set
from tests.small_training import draw_index


@pytest.fixture
def database(empty_database, tmp_path):
    """A fresh tracking database in a folder of its own."""
    (tmp_path / "mlflow").mkdir()
    return shutil.copy(empty_database, tmp_path / "mlflow" / "mlflow.db")


@pytest.fixture
def tracked(database, monkeypatch):
    """Track into `database`, and nowhere else."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_PARENT_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    from stocktake.mlflow_server import configure

    configure()
    return database


@pytest.fixture(scope="session")
def drawn_index(tmp_path_factory):
    """A raw index of a few small drawn shelves, for trainings."""
    return draw_index(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def photo_cache(tmp_path_factory):
    """A cache of photos of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCKTAKE_CACHE", str(folder))
        yield folder


@pytest.fixture
def shelves(tmp_path):
    """A folder of eleven photos in the layout of SKU-110K."""
    return make_set(tmp_path / "shelves")


@pytest.fixture
def make_model(tmp_path):
    """Makes a model dir of the weights that it is called with."""
    return lambda weights: write_model(tmp_path / f"model-{weights}", weights)


@pytest.fixture
def store(tmp_path):
    """The URI of a store in a folder."""
    return str(tmp_path / "store")
